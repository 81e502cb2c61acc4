#include "server/scheduler/queue_forecast.h"

#include <algorithm>

namespace graft {
namespace {

// Where and when a job could start first.
struct Start {
  ForecastSlot* slot = nullptr;
  absl::Duration in = absl::InfiniteDuration();
};

Start EarliestStart(const ForecastJob& job, std::vector<ForecastSlot>& slots) {
  Start start;
  for (ForecastSlot& slot : slots) {
    if (!slot.free_in || !job.workers[slot.worker]) continue;
    const absl::Duration in = std::max(*slot.free_in, job.not_before);
    if (in < start.in) start = {&slot, in};
  }
  return start;
}

}  // namespace

std::vector<std::optional<absl::Duration>> ForecastStarts(std::vector<ForecastSlot> slots,
                                                          const std::vector<ForecastJob>& jobs) {
  std::vector<std::optional<absl::Duration>> starts(jobs.size());
  while (true) {
    Start next;
    size_t starting = 0;
    for (size_t i = 0; i < jobs.size(); ++i) {
      if (starts[i]) continue;
      const Start start = EarliestStart(jobs[i], slots);
      if (start.in < next.in) {
        next = start;
        starting = i;
      }
    }
    if (next.slot == nullptr) return starts;
    starts[starting] = next.in;
    const std::optional<absl::Duration> takes = jobs[starting].workers[next.slot->worker]->takes;
    next.slot->free_in = takes ? std::optional(next.in + *takes) : std::nullopt;
  }
}

}  // namespace graft
