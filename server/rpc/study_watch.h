#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "graft/v1/study.pb.h"
#include "server/rpc/ticker.h"
#include "server/store/job_store.h"

namespace graft {

// What one watcher of a study is sent: the events after `after_sequence` from its log, then those
// that come, each once and in order, with heartbeats between; OK after the event of a final state.
class StudyWatchSource : public MessageSource<v1::WatchStudyResponse> {
 public:
  // NOT_FOUND; INVALID_ARGUMENT: after_sequence below 0; OUT_OF_RANGE: beyond the log's end.
  static absl::StatusOr<std::unique_ptr<StudyWatchSource>> Open(
      JobStore& store, Ticker& ticker, Clock& clock, absl::Duration heartbeat_interval,
      const v1::WatchStudyRequest& request, std::shared_ptr<StreamWaker> waker);
  ~StudyWatchSource() override;

  absl::StatusOr<SourceState> Next(v1::WatchStudyResponse* response) override;

 private:
  StudyWatchSource(JobStore& store, Ticker& ticker, Clock& clock, absl::Duration heartbeat_interval,
                   std::string study, int64_t after, std::shared_ptr<StreamWaker> waker);
  SourceState SendEvent(v1::WatchStudyResponse* response);

  JobStore& store_;
  Ticker& ticker_;
  Clock& clock_;
  const absl::Duration heartbeat_interval_;
  const std::string study_;
  const std::shared_ptr<StreamWaker> waker_;
  std::unique_ptr<Subscription> subscription_;

  int64_t after_;  // The last sequence that was sent.
  bool final_sent_ = false;
  absl::Duration last_sent_;
  std::deque<v1::StudyEvent> page_;
};

}  // namespace graft
