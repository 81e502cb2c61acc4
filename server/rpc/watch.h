#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "graft/v1/job.pb.h"
#include "server/rpc/ticker.h"
#include "server/scheduler/queue_view.h"
#include "server/store/job_store.h"

namespace graft {

// What one watcher holds in memory between two writes at the most; of larger events, one.
inline constexpr int kWatchPageEvents = 64;
inline constexpr size_t kWatchPageBytes = 128 * 1024;
// Between two heartbeats of a job whose progress changes.
inline constexpr absl::Duration kWatchProgressInterval = absl::Seconds(1);

// What one watcher of a job is sent: the events after `after_sequence` from the log, then those
// that come, each once and in order, with heartbeats between (one for every interval, and one for
// kWatchProgressInterval in which the job changed); OK after the event of a final state.
//
// It reads the log again and again instead of being handed events, so a slow watcher holds one page
// and costs nobody else anything.
struct WatchParts {
  JobStore& store;
  Ticker& ticker;
  Clock& clock;
  QueueView& queue;
  absl::Duration heartbeat_interval;
};
class WatchSource : public MessageSource<v1::WatchJobResponse> {
 public:
  // NOT_FOUND; INVALID_ARGUMENT: after_sequence below 0; OUT_OF_RANGE: beyond the log's end.
  static absl::StatusOr<std::unique_ptr<WatchSource>> Open(const WatchParts& parts,
                                                           const v1::WatchJobRequest& request,
                                                           std::shared_ptr<StreamWaker> waker);
  ~WatchSource() override;

  absl::StatusOr<SourceState> Next(v1::WatchJobResponse* response) override;

 private:
  // What the listener has heard; shared with it.
  struct News {
    std::atomic<bool> fresh = true;
    std::atomic<bool> deleted = false;
  };

  WatchSource(const WatchParts& parts, std::string job, int64_t after,
              std::shared_ptr<StreamWaker> waker);
  // Keeps what kWatchPageBytes allow; the rest is read again later.
  void KeepPage(std::vector<v1::JobEvent> events);
  // Sends the first event of the page.
  SourceState SendEvent(v1::WatchJobResponse* response);
  absl::StatusOr<SourceState> SendHeartbeat(v1::WatchJobResponse* response);

  const WatchParts parts_;
  const std::string job_;
  const std::shared_ptr<StreamWaker> waker_;
  const std::shared_ptr<News> news_ = std::make_shared<News>();
  std::unique_ptr<Subscription> subscription_;

  int64_t after_;  // The last sequence that was sent.
  bool final_sent_ = false;
  bool caught_up_ = false;  // A first heartbeat was sent after the replay.
  bool changed_ = false;    // The job, since the last heartbeat.
  absl::Duration last_sent_;
  absl::Duration last_heartbeat_;
  std::deque<v1::JobEvent> page_;
};

}  // namespace graft
