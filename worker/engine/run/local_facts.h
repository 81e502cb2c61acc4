#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "graft/v1/event.pb.h"
#include "graft/v1/spec.pb.h"
#include "worker/engine/run/standalone.h"

namespace graft {

// A job whose inputs are files of this machine.
struct LocalJob {
  v1::JobSpec resolved;
  std::vector<v1::Warning> warnings;  // WarningsOf.
  // Absolute paths; empty when the job has none.
  std::string base_model;
  std::string adapter;
  std::vector<std::string> adapters;  // EvaluateSpec.adapters, in their order.
  std::string train;
  std::string validation;
};

// Finds the inputs, takes the facts that common/jobs asks for from the files themselves, and
// resolves the spec with them. In the resolved spec inputs are called by the last part of their
// path, and of several adapters those that would have one name by the last two: "a_adapter".
absl::StatusOr<LocalJob> ResolveLocally(const StandaloneOptions& options);

}  // namespace graft
