#include "server/rpc/watch.h"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

// One WatchJob call that is read event by event.
class Watcher {
 public:
  Watcher(TestServer& server, const std::string& job, int64_t after = 0) : context_(CallContext()) {
    v1::WatchJobRequest request;
    request.set_name(job);
    request.set_after_sequence(after);
    reader_ = server.jobs().WatchJob(context_.get(), request);
  }

  // The next event, heartbeats passed over; sequence 0 at the end.
  v1::JobEvent NextEvent() {
    v1::WatchJobResponse response;
    while (reader_->Read(&response)) {
      if (response.has_event()) return response.event();
      last_heartbeat_ = response.heartbeat();
    }
    return {};
  }

  v1::WatchJobResponse::Heartbeat NextHeartbeat() {
    v1::WatchJobResponse response;
    while (reader_->Read(&response)) {
      if (response.has_heartbeat()) return response.heartbeat();
    }
    return {};
  }

  std::vector<int64_t> AllSequences() {
    std::vector<int64_t> sequences;
    for (v1::JobEvent event = NextEvent(); event.sequence() > 0; event = NextEvent()) {
      sequences.push_back(event.sequence());
    }
    return sequences;
  }

  absl::Status Finish() { return FromGrpcStatus(reader_->Finish()); }
  void Cancel() { context_->TryCancel(); }

 private:
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> reader_;
  v1::WatchJobResponse::Heartbeat last_heartbeat_;
};

std::vector<int64_t> Range(int64_t first, int64_t last) {
  std::vector<int64_t> numbers;
  for (int64_t i = first; i <= last; ++i) numbers.push_back(i);
  return numbers;
}

std::vector<v1::JobEvent> Steps(int64_t first, int64_t count) {
  std::vector<v1::JobEvent> events;
  for (int64_t i = 0; i < count; ++i) events.push_back(StepEvent(first + i, 1.0 / (first + i)));
  return events;
}

worker::v1::FinishAttemptRequest Failed() {
  worker::v1::FinishAttemptRequest request;
  request.mutable_failed()->mutable_error()->set_code(3);
  request.mutable_failed()->mutable_error()->set_message("line 17 is broken");
  request.mutable_failed()->set_failure_class(v1::FAILURE_CLASS_DATA);
  return request;
}

TEST(WatchTest, ReplaysThenFollowsThenEndsAfterTheFinalState) {
  TestServer server;
  FakeWorker worker(server);
  const std::string job = server.Create(LoraJob())->name();
  Watcher watcher(server, job);
  EXPECT_EQ(watcher.NextEvent().state_change().to(), v1::JOB_STATE_QUEUED);
  const auto lease = worker.Lease("r1");
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(watcher.NextEvent().state_change().to(), v1::JOB_STATE_RUNNING);
  ASSERT_TRUE(worker.Report(*lease, 1, Steps(1, 3)).ok());
  for (int step = 1; step <= 3; ++step) EXPECT_EQ(watcher.NextEvent().metrics().step(), step);
  ASSERT_TRUE(worker.Finish(*lease, 1, Failed()).ok());
  const v1::JobEvent last = watcher.NextEvent();
  EXPECT_EQ(last.state_change().to(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(last.state_change().error().message(), "line 17 is broken");
  EXPECT_EQ(watcher.NextEvent().sequence(), 0);
  EXPECT_TRUE(watcher.Finish().ok());
}

TEST(WatchTest, ReconnectsSeeEveryEventOnceInOrder) {
  TestServer server;
  FakeWorker worker(server);
  const std::string job = server.Create(LoraJob())->name();
  const auto lease = worker.Lease("r1");
  ASSERT_TRUE(lease.ok()) << lease.status();
  constexpr int kBatches = 40;
  constexpr int kPerBatch = 25;
  std::thread reporter([&] {
    for (int batch = 1; batch <= kBatches; ++batch) {
      EXPECT_TRUE(worker.Report(*lease, batch, Steps((batch - 1) * kPerBatch + 1, kPerBatch)).ok());
    }
    EXPECT_TRUE(worker.Finish(*lease, kBatches, Failed()).ok());
  });
  std::vector<int64_t> seen;
  int connections = 0;
  bool final_seen = false;
  while (!final_seen && connections < 1000) {
    Watcher watcher(server, job, seen.empty() ? 0 : seen.back());
    ++connections;
    // Cut off in the middle, again and again.
    for (int i = 0; i < 37 && !final_seen; ++i) {
      const v1::JobEvent event = watcher.NextEvent();
      if (event.sequence() == 0) break;
      seen.push_back(event.sequence());
      final_seen = event.state_change().to() == v1::JOB_STATE_FAILED;
    }
    watcher.Cancel();
  }
  reporter.join();
  // Queued, running, the steps, failed.
  EXPECT_EQ(seen, Range(1, 3 + kBatches * kPerBatch));
  EXPECT_GT(connections, 20);
}

TEST(WatchTest, AWatchOfAFinishedJobReplaysAndEnds) {
  TestServer server;
  const std::string job = server.Create(LoraJob())->name();
  ASSERT_TRUE(server.Cancel(job).ok());
  Watcher all(server, job);
  EXPECT_EQ(all.AllSequences(), Range(1, 2));
  EXPECT_TRUE(all.Finish().ok());
  Watcher nothing_left(server, job, 2);
  EXPECT_TRUE(nothing_left.AllSequences().empty());
  EXPECT_TRUE(nothing_left.Finish().ok());
}

TEST(WatchTest, HeartbeatsTellHeadAndQueuePosition) {
  TestServer server({.watch_heartbeat = absl::Milliseconds(20)});
  ASSERT_TRUE(server.Create(LoraJob()).ok());
  const std::string second = server.Create(LoraJob())->name();
  Watcher watcher(server, second);
  for (int i = 0; i < 3; ++i) {
    const auto heartbeat = watcher.NextHeartbeat();
    EXPECT_EQ(heartbeat.queue_position(), 2);
    EXPECT_EQ(heartbeat.head_sequence(), 1);
    EXPECT_EQ(heartbeat.state(), v1::JOB_STATE_QUEUED);
  }
}

TEST(WatchTest, HeartbeatsTellTheProgressSoonAfterItChanged) {
  // No heartbeat would come for its own sake within the test.
  TestServer server({.watch_heartbeat = absl::Minutes(10)});
  FakeWorker worker(server);
  const std::string job = server.Create(LoraJob())->name();
  const auto lease = worker.Lease("r1");
  ASSERT_TRUE(lease.ok()) << lease.status();
  Watcher watcher(server, job);
  EXPECT_EQ(watcher.NextHeartbeat().stage(), v1::JOB_STAGE_UNSPECIFIED);
  worker::v1::ReportEventsRequest progress;
  progress.set_stage(v1::JOB_STAGE_EVALUATING);
  progress.set_stage_total(40);
  progress.set_eta_seconds(90);
  // A report a moment, as a worker makes them, until a watcher hears of one: within a second.
  std::atomic<bool> heard = false;
  std::thread reporter([&] {
    for (int64_t batch = 1; !heard; ++batch) {
      progress.set_stage_done(batch % 40);
      EXPECT_TRUE(worker.Report(*lease, batch, {}, progress).ok());
    }
  });
  const auto heartbeat = watcher.NextHeartbeat();
  heard = true;
  reporter.join();
  EXPECT_EQ(heartbeat.stage(), v1::JOB_STAGE_EVALUATING);
  EXPECT_EQ(heartbeat.stage_total(), 40);
  EXPECT_EQ(heartbeat.eta_seconds(), 90);
  EXPECT_GT(heartbeat.worker_silent_seconds(), 0);
  EXPECT_LT(heartbeat.worker_silent_seconds(), 60);
  EXPECT_EQ(heartbeat.state(), v1::JOB_STATE_RUNNING);
}

TEST(WatchTest, BadPositionsAndNamesAreRefused) {
  TestServer server;
  const std::string job = server.Create(LoraJob())->name();
  EXPECT_EQ(Watcher(server, job, -1).Finish().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Watcher(server, job, 99).Finish().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Watcher(server, "jobs/nobody").Finish().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Watcher(server, "../x").Finish().code(), absl::StatusCode::kInvalidArgument);
}

TEST(WatchTest, ADeletedJobEndsItsWatches) {
  TestServer server;
  const std::string job = server.Create(LoraJob())->name();
  // It is followed once its first event has come.
  Watcher watcher(server, job);
  ASSERT_EQ(watcher.NextEvent().sequence(), 1);
  ASSERT_TRUE(server.Cancel(job).ok());
  EXPECT_EQ(watcher.NextEvent().state_change().to(), v1::JOB_STATE_CANCELLED);
  EXPECT_TRUE(watcher.Finish().ok());
}

TEST(WatchTest, AWatcherThatReadsNothingHoldsUpNobody) {
  TestServer server;
  FakeWorker worker(server);
  const std::string job = server.Create(LoraJob())->name();
  const auto lease = worker.Lease("r1");
  ASSERT_TRUE(lease.ok()) << lease.status();
  std::vector<std::unique_ptr<Watcher>> asleep;
  for (int i = 0; i < 50; ++i) asleep.push_back(std::make_unique<Watcher>(server, job));
  Watcher awake(server, job);
  v1::JobEvent big;
  big.mutable_warning()->set_text(std::string(100'000, 'x'));
  constexpr int kBatches = 20;
  for (int batch = 1; batch <= kBatches; ++batch) {
    ASSERT_TRUE(worker.Report(*lease, batch, {big}).ok());
  }
  for (int64_t sequence = 1; sequence <= 2 + kBatches; ++sequence) {
    ASSERT_EQ(awake.NextEvent().sequence(), sequence);
  }
  for (auto& watcher : asleep) watcher->Cancel();
}

TEST(WatchTest, ADrainingServerEndsWatchesAndTheyCanGoOnElsewhere) {
  TestServer server;
  const std::string job = server.Create(LoraJob())->name();
  Watcher watcher(server, job);
  ASSERT_EQ(watcher.NextEvent().sequence(), 1);
  server.rpc().Stop(absl::Seconds(10));
  EXPECT_EQ(watcher.NextEvent().sequence(), 0);
  EXPECT_EQ(watcher.Finish().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace graft
