#pragma once

// What a graft-engine can compute on, for the programs above it, which have no LibTorch to ask.

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/process_lock.h"

namespace graft {

struct EngineDevices {
  // "cpu" first, then GPUs: "cuda:0 NVIDIA H100 80GB HBM3".
  std::vector<std::string> devices;
  // Was the engine built for GPUs?
  bool cuda = false;

  // Names of the GPUs alone: "cuda:0".
  std::vector<std::string> Gpus() const;
  // The device as a person knows it; the name itself where the engine knows no more.
  std::string Described(const std::string& name) const;
};

// Asks `program devices`; blocks until it has ended (a second or two: it loads LibTorch).
// UNAVAILABLE: it ended otherwise, or said something else.
absl::StatusOr<EngineDevices> AskEngineForDevices(const std::string& program);

// A GPU that this process computes on, for as long as this lives: other processes that look for one
// pass it over.
class DeviceClaim {
 public:
  DeviceClaim() = default;
  // Takes `gpu`; not valid when another process has it. Where claims cannot be made, every one is.
  static DeviceClaim Take(const std::string& gpu);
  bool valid() const { return valid_; }

 private:
  std::optional<ProcessLock> lock_;
  bool valid_ = false;
};

// Does this machine have an NVIDIA GPU, whatever the engine was built for?
bool MachineHasGpu();

}  // namespace graft
