#pragma once

// What `graft top` shows. No input or output of its own.

#include <string>

#include "graft/v1/job.pb.h"
#include "graft/v1/queue.pb.h"
#include "graft/v1/worker.pb.h"

namespace graft {

struct TopState {
  std::string server;
  v1::ListWorkersResponse workers;
  v1::ListJobsResponse running;
  v1::GetQueueResponse queue;
};

// A line about all of it, then workers, running jobs and the queue, each as a table; at most `rows`
// lines of `columns`, of which workers get a third at most, and the queue what is left.
std::string TopText(const TopState& state, size_t columns, size_t rows);

}  // namespace graft
