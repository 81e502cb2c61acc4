#pragma once

// What a job's place in the queue is called.

#include <string>

#include "client/cli/output.h"
#include "graft/v1/queue.pb.h"

namespace graft {

// "4m10s"; empty when it is not known.
inline std::string StartText(const v1::QueueEntry& entry) {
  return entry.has_expected_start_seconds() ? FormatSeconds(entry.expected_start_seconds()) : "";
}

}  // namespace graft
