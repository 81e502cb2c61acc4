#include "server/rpc/study_watch.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/studies/study_state.h"

namespace graft {
namespace {

constexpr int kPageEvents = 64;

}  // namespace

StudyWatchSource::StudyWatchSource(JobStore& store, Ticker& ticker, Clock& clock,
                                   absl::Duration heartbeat_interval, std::string study,
                                   int64_t after, std::shared_ptr<StreamWaker> waker)
    : store_(store),
      ticker_(ticker),
      clock_(clock),
      heartbeat_interval_(heartbeat_interval),
      study_(std::move(study)),
      waker_(std::move(waker)),
      after_(after),
      last_sent_(clock.Boottime() - heartbeat_interval) {}

StudyWatchSource::~StudyWatchSource() { ticker_.Remove(waker_); }

absl::StatusOr<std::unique_ptr<StudyWatchSource>> StudyWatchSource::Open(
    JobStore& store, Ticker& ticker, Clock& clock, absl::Duration heartbeat_interval,
    const v1::WatchStudyRequest& request, std::shared_ptr<StreamWaker> waker) {
  ASSIGN_OR_RETURN(const std::string id, ParseStudyId(request.name()));
  const int64_t after = request.after_sequence();
  if (after < 0) return FieldViolation("after_sequence", "must not be negative");
  ASSIGN_OR_RETURN(const v1::Study study, store.GetStudy(StudyName(id)));
  if (after > study.last_sequence()) {
    return absl::OutOfRangeError(absl::StrCat("after_sequence ", after,
                                              " is beyond the last event of ", study.name(), ", ",
                                              study.last_sequence()));
  }
  std::unique_ptr<StudyWatchSource> source(new StudyWatchSource(
      store, ticker, clock, heartbeat_interval, study.name(), after, std::move(waker)));
  source->final_sent_ = study.done() && after == study.last_sequence();
  // What a study decides changes jobs of its, mostly; the ticker shows the rest.
  source->subscription_ = store.Subscribe("", [trials = absl::StrCat(study.name(), "/"),
                                               waker = source->waker_](const JobChange& change) {
    if (absl::StartsWith(change.trial, trials)) waker->Wake();
  });
  ticker.Add(source->waker_);
  return source;
}

absl::StatusOr<SourceState> StudyWatchSource::Next(v1::WatchStudyResponse* response) {
  if (!page_.empty()) return SendEvent(response);
  if (final_sent_) return SourceState::kEnd;
  ASSIGN_OR_RETURN(const std::vector<v1::StudyEvent> events,
                   store_.ReadStudyEvents(study_, after_, kPageEvents));
  page_.assign(events.begin(), events.end());
  if (!page_.empty()) return SendEvent(response);
  const absl::Duration now = clock_.Boottime();
  // The ticker wakes four times in an interval: one turn later might be too late.
  if (now - last_sent_ < 0.75 * heartbeat_interval_) return SourceState::kWait;
  last_sent_ = now;
  response->mutable_heartbeat()->set_head_sequence(after_);
  return SourceState::kMessage;
}

SourceState StudyWatchSource::SendEvent(v1::WatchStudyResponse* response) {
  *response->mutable_event() = std::move(page_.front());
  page_.pop_front();
  after_ = response->event().sequence();
  last_sent_ = clock_.Boottime();
  final_sent_ = IsFinal(response->event().state_change().to());
  return SourceState::kMessage;
}

}  // namespace graft
