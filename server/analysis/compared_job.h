#pragma once

#include <optional>
#include <string>

#include "graft/v1/adapter.pb.h"
#include "graft/v1/job.pb.h"

namespace graft {

// One of the jobs of a comparison, with what it comes from.
struct Contestant {
  v1::Job job;  // SUCCEEDED.
  // The job itself, or the one that made the evaluated adapter. Unset: none did, or it was deleted.
  std::optional<v1::Job> training;
  std::optional<v1::Adapter> adapter;  // That was made or evaluated, while it is there.
  std::string label;                   // "lora r=8", "untuned", or the display name.
};

}  // namespace graft
