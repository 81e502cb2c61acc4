#pragma once

// The numbers in a job's log, step by step, as far as they count: what a run that went back to an
// earlier step (after a divergence) had done behind it, it did not do.

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/formats/metric_row.h"
#include "graft/v1/event.pb.h"
#include "server/store/job_store.h"
#include "server/streams/wanted.h"

namespace graft {

// A place in the log at which the run went back to a step: what stands before it of later steps was
// undone.
struct Rollback {
  int64_t event = 0;
  int64_t step = 0;
};

// Calls `visit` for the events of a job's log in order, up to the event `last`. The log is read in
// pages. Errors are those of the store and of `visit`; CANCELLED: nobody waits any more.
absl::Status ForEachEvent(JobStore& store, absl::string_view job, int64_t last, const Gone& gone,
                          const std::function<absl::Status(const v1::JobEvent&)>& visit);

// Adds the event's rollback, if it is one.
void NoteRollback(const v1::JobEvent& event, std::vector<Rollback>& rollbacks);

// Calls `visit` if the event holds metrics or an evaluation that were not undone.
absl::Status VisitRow(const v1::JobEvent& event, const std::vector<Rollback>& rollbacks,
                      const std::function<absl::Status(const MetricRow&)>& visit);

}  // namespace graft
