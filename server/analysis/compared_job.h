#pragma once

#include <optional>
#include <string>

#include "graft/v1/adapter.pb.h"
#include "graft/v1/job.pb.h"

namespace graft {

// One of the jobs of a comparison, with what it comes from.
struct Contestant {
  v1::Job job;  // SUCCEEDED.
  // The one that this is, where the job evaluated several adapters and is here for each.
  std::optional<v1::AdapterResult> of_several;
  // The job itself, or the one that made the evaluated adapter. Unset: none did, or it was deleted.
  std::optional<v1::Job> training;
  std::optional<v1::Adapter> adapter;  // That was made or evaluated, while it is there.
  std::string label;                   // "lora r=8", "untuned", or the display name.

  const google::protobuf::Map<std::string, double>& metrics() const {
    return of_several ? of_several->metrics() : job.result().metrics();
  }
  const v1::ScoringFingerprint& fingerprint() const {
    return of_several ? of_several->fingerprint() : job.result().fingerprint();
  }
  // The name of it, where one was evaluated.
  const std::string& evaluated_adapter() const {
    return of_several ? of_several->adapter() : job.resolved_spec().evaluate().adapter();
  }
};

}  // namespace graft
