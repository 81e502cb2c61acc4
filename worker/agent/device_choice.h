#pragma once

#include <string>

#include "common/base/engine_devices.h"

namespace graft {

// What a worker's engines compute on.
struct DeviceChoice {
  std::string name;       // For graft-engine --device: "cpu", "cuda:1".
  std::string described;  // For people: "cuda:1 NVIDIA H200".
  DeviceClaim claim;      // Of a GPU, held as long as the worker lives.
};

// `wanted` is --device: "auto" becomes the first GPU that the engine sees and no other worker of
// this machine has, else the CPU; anything else is taken as it is. Says in the log what it found,
// and why a GPU that is there is not used. Blocks while the engine is asked (with "auto" only).
DeviceChoice ChooseDevice(const std::string& engine_program, const std::string& wanted);

}  // namespace graft
