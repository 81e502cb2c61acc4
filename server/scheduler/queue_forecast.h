#pragma once

// When queued jobs will start, as far as that follows from what is known. Pure.

#include <cstddef>
#include <optional>
#include <vector>

#include "absl/time/time.h"

namespace graft {

// Place for one job on a worker. Times are from now on.
struct ForecastSlot {
  size_t worker = 0;
  std::optional<absl::Duration> free_in;  // Nothing: nobody knows.
};

struct ForecastJob {
  // By worker: nothing, it cannot have the job.
  struct Run {
    std::optional<absl::Duration> takes;  // Nothing: nobody knows.
  };
  std::vector<std::optional<Run>> workers;
  absl::Duration not_before;
};

// When each of the jobs, which are in the order of the queue, starts: whenever a slot is free, the
// first job that may have it takes it. Slots whose end nobody knows are left out, so that a job may
// start earlier than this; nothing: it has no other. A slot is one of those, too, once a job has it
// of which nobody knows how long it takes.
std::vector<std::optional<absl::Duration>> ForecastStarts(std::vector<ForecastSlot> slots,
                                                          const std::vector<ForecastJob>& jobs);

}  // namespace graft
