#include "server/rpc/watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_state.h"
#include "common/jobs/names.h"

namespace graft {

WatchSource::WatchSource(const WatchParts& parts, std::string job, int64_t after,
                         std::shared_ptr<StreamWaker> waker)
    : parts_(parts),
      job_(std::move(job)),
      waker_(std::move(waker)),
      after_(after),
      last_sent_(parts.clock.Boottime()) {}

WatchSource::~WatchSource() { parts_.ticker.Remove(waker_); }

absl::StatusOr<std::unique_ptr<WatchSource>> WatchSource::Open(const WatchParts& parts,
                                                               const v1::WatchJobRequest& request,
                                                               std::shared_ptr<StreamWaker> waker) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(request.name()));
  const int64_t after = request.after_sequence();
  if (after < 0) return FieldViolation("after_sequence", "must not be negative");
  std::unique_ptr<WatchSource> source(new WatchSource(parts, JobName(id), after, std::move(waker)));
  // Before the first read, so that nothing between the two is missed.
  source->subscription_ = parts.store.Subscribe(
      source->job_, [news = source->news_, waker = source->waker_](const JobChange& change) {
        if (change.deleted) news->deleted = true;
        news->fresh = true;
        waker->Wake();
      });
  ASSIGN_OR_RETURN(const v1::Job job, parts.store.GetJob(source->job_));
  if (after > job.last_sequence()) {
    return absl::OutOfRangeError(absl::StrCat("after_sequence ", after,
                                              " is beyond the last event of ", job.name(), ", ",
                                              job.last_sequence()));
  }
  // The watcher has seen the end already.
  source->final_sent_ = job.done() && after == job.last_sequence();
  parts.ticker.Add(source->waker_);
  return source;
}

absl::StatusOr<SourceState> WatchSource::Next(v1::WatchJobResponse* response) {
  if (!page_.empty()) return SendEvent(response);
  if (final_sent_) return SourceState::kEnd;
  if (news_->deleted) return absl::NotFoundError(absl::StrCat(job_, " was deleted"));
  if (news_->fresh.exchange(false)) {
    changed_ = true;
    ASSIGN_OR_RETURN(std::vector<v1::JobEvent> events,
                     parts_.store.ReadEvents(job_, after_, kWatchPageEvents));
    if (!events.empty()) {
      // There may be more behind this page.
      news_->fresh = true;
      KeepPage(std::move(events));
      return SendEvent(response);
    }
  }
  const absl::Duration now = parts_.clock.Boottime();
  // The ticker wakes four times in an interval: one turn later might be too late.
  const bool due = !caught_up_ || now - last_sent_ >= 0.75 * parts_.heartbeat_interval;
  const bool progressed = changed_ && now - last_heartbeat_ >= kWatchProgressInterval;
  if (!due && !progressed) return SourceState::kWait;
  caught_up_ = true;
  changed_ = false;
  return SendHeartbeat(response);
}

void WatchSource::KeepPage(std::vector<v1::JobEvent> events) {
  size_t bytes = 0;
  for (v1::JobEvent& event : events) {
    bytes += event.ByteSizeLong();
    if (bytes > kWatchPageBytes && !page_.empty()) return;
    page_.push_back(std::move(event));
  }
}

SourceState WatchSource::SendEvent(v1::WatchJobResponse* response) {
  *response->mutable_event() = std::move(page_.front());
  page_.pop_front();
  after_ = response->event().sequence();
  // Nothing follows the event of a final state.
  final_sent_ =
      response->event().has_state_change() && IsFinal(response->event().state_change().to());
  last_sent_ = parts_.clock.Boottime();
  return SourceState::kMessage;
}

absl::StatusOr<SourceState> WatchSource::SendHeartbeat(v1::WatchJobResponse* response) {
  ASSIGN_OR_RETURN(const v1::Job job, parts_.store.GetJob(job_));
  v1::WatchJobResponse::Heartbeat* heartbeat = response->mutable_heartbeat();
  heartbeat->set_head_sequence(job.last_sequence());
  heartbeat->set_queue_position(job.queue_position());
  heartbeat->set_state(job.state());
  heartbeat->set_stage(job.stage());
  heartbeat->set_stage_done(job.stage_done());
  heartbeat->set_stage_total(job.stage_total());
  heartbeat->set_eta_seconds(job.eta_seconds());
  heartbeat->set_worker_silent_seconds(job.worker_silent_seconds());
  if (job.state() == v1::JOB_STATE_QUEUED) {
    ASSIGN_OR_RETURN(const v1::QueueEntry entry, parts_.queue.Glance(job_));
    heartbeat->set_waits(entry.waits());
    if (entry.has_expected_start_seconds()) {
      heartbeat->set_expected_start_seconds(entry.expected_start_seconds());
    }
  }
  last_sent_ = last_heartbeat_ = parts_.clock.Boottime();
  return SourceState::kMessage;
}

}  // namespace graft
