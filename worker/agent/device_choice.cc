#include "worker/agent/device_choice.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "common/telemetry/log.h"

namespace graft {
namespace {

DeviceChoice Cpu() { return {"cpu", "cpu", {}}; }

void SayWhyNoGpu(const EngineDevices& found) {
  if (!found.Gpus().empty()) {
    Log(LogLevel::kWarning, "every GPU has a worker already: this one computes on the CPU",
        {{"gpus", absl::StrJoin(found.Gpus(), ",")}});
  } else if (MachineHasGpu()) {
    Log(LogLevel::kWarning,
        found.cuda ? "this machine has a GPU that the engine cannot use (its driver is older than "
                     "CUDA 13, or hidden by CUDA_VISIBLE_DEVICES): jobs run on the CPU"
                   : "this machine has a GPU, but the engine was built for the CPU; one that uses "
                     "it is made by tools/setup --torch cuda and cmake --preset cuda (or docker "
                     "build --build-arg TORCH=cuda)");
  }
}

}  // namespace

DeviceChoice ChooseDevice(const std::string& engine_program, const std::string& wanted) {
  if (wanted != "auto") {
    // Claimed for the others' sake: who names a GPU gets it.
    return {wanted, wanted,
            absl::StartsWith(wanted, "cuda") ? DeviceClaim::Take(wanted) : DeviceClaim()};
  }
  const absl::StatusOr<EngineDevices> found = AskEngineForDevices(engine_program);
  if (!found.ok()) {
    Log(LogLevel::kWarning, "the engine does not say what it can compute on: the CPU is used",
        {{"error", std::string(found.status().message())}});
    return Cpu();
  }
  for (const std::string& gpu : found->Gpus()) {
    DeviceClaim claim = DeviceClaim::Take(gpu);
    if (claim.valid()) return {gpu, found->Described(gpu), std::move(claim)};
  }
  SayWhyNoGpu(*found);
  return Cpu();
}

}  // namespace graft
