#include "worker/agent/outbox.h"

#include <optional>
#include <utility>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/agent/fake_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

// The outbox of job "a".
class OutboxTest : public ::testing::Test {
 protected:
  static ServerLink::Options Fast() {
    ServerLink::Options options;
    options.first_delay = absl::Milliseconds(1);
    options.last_delay = absl::Milliseconds(20);
    return options;
  }
  static v1::JobEvent Metrics(int64_t step) {
    v1::JobEvent event;
    event.mutable_metrics()->set_step(step);
    return event;
  }
  // The checkpoint of a step with files of these names, which lie below its directory.
  engine::v1::CheckpointWritten Write(int64_t step, const std::vector<std::string>& names) {
    EXPECT_TRUE(CreateDirectories(DirectoryOf(step)).ok());
    engine::v1::CheckpointWritten written;
    written.set_step(step);
    for (const std::string& name : names) {
      EXPECT_TRUE(WriteFileAtomically(JoinPath(DirectoryOf(step), name), name).ok());
      v1::Artifact& file = *written.add_files();
      file.set_path(name);
      file.set_sha256(Sha256Hex(name));
      file.set_size_bytes(static_cast<int64_t>(name.size()));
    }
    return written;
  }
  std::string DirectoryOf(int64_t step) const { return directory_.Path(absl::StrCat(step)); }

  const TempDir directory_;
  FakeServer server_{directory_.Path("server.sock")};
  ServerLink link_{grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()),
                   Fast()};
  StopSignal stop_;
  StopSignal checkpoints_;
};

TEST_F(OutboxTest, ProgressGoesWithTheEvents) {
  Outbox outbox(link_, "jobs/a", 1, {stop_, checkpoints_}, [](const absl::Status&) {});
  engine::v1::Progress progress;
  progress.set_stage(v1::JOB_STAGE_EVALUATING);
  progress.set_stage_done(3);
  progress.set_stage_total(8);
  progress.set_eta_seconds(12);
  outbox.SetProgress(progress);
  outbox.AddEvent(Metrics(1));
  ASSERT_TRUE(outbox.Drain().ok());
  const worker::v1::ReportEventsRequest report = server_.LastReport("a");
  EXPECT_EQ(report.stage(), v1::JOB_STAGE_EVALUATING);
  EXPECT_EQ(report.stage_done(), 3);
  EXPECT_EQ(report.stage_total(), 8);
  EXPECT_EQ(report.eta_seconds(), 12);
}

TEST_F(OutboxTest, ACheckpointIsCommittedAfterTheEventsBeforeItAndBeforeThoseAfter) {
  engine::v1::CheckpointWritten checkpoint = Write(2, {"state"});
  checkpoint.mutable_execution()->set_device("cpu");
  Outbox outbox(link_, "jobs/a", 1, {stop_, checkpoints_}, [](const absl::Status&) {});
  outbox.AddEvent(Metrics(1));
  outbox.AddEvent(Metrics(2));
  outbox.AddCheckpoint(DirectoryOf(2), checkpoint);
  outbox.AddEvent(Metrics(3));
  EXPECT_EQ(outbox.Drain().value(), 2);
  EXPECT_THAT(server_.History("a"),
              ElementsAre("event 1", "event 2", "checkpoint 2 on cpu", "event 3"));
}

TEST_F(OutboxTest, LargeEventsGoOutInBatchesThatFitAMessage) {
  Outbox outbox(link_, "jobs/a", 1, {stop_, checkpoints_}, [](const absl::Status&) {});
  for (int i = 0; i < 20; ++i) {
    v1::JobEvent event;
    event.mutable_samples()->add_texts()->set_prediction(std::string(300'000, 'x'));
    outbox.AddEvent(std::move(event));
  }
  ASSERT_TRUE(outbox.Drain().ok());
  server_.WaitForEvents("a", 20);
  EXPECT_LT(server_.largest_batch(), 3u << 20);
  EXPECT_GT(server_.largest_batch(), 1u << 20);
}

TEST_F(OutboxTest, EventsOfAnAbsentServerArriveOnceAndInOrder) {
  Outbox outbox(link_, "jobs/a", 1, {stop_, checkpoints_}, [](const absl::Status&) {});
  outbox.AddEvent(Metrics(1));
  server_.WaitForEvents("a", 1);
  server_.Stop();
  for (int step = 2; step <= 500; ++step) outbox.AddEvent(Metrics(step));
  server_.LoseNextAnswer();
  server_.Start();
  ASSERT_TRUE(outbox.Drain().ok());
  std::vector<std::string> expected;
  for (int step = 1; step <= 500; ++step) expected.push_back(absl::StrCat("event ", step));
  EXPECT_EQ(server_.History("a"), expected);
  EXPECT_GE(server_.duplicate_batches(), 1);
}

// Else an attempt could end as it would have without the refusal.
TEST_F(OutboxTest, ARefusalIsToldBeforeAnybodySeesTheOutboxEmpty) {
  server_.RefuseEventsOf("a");
  Mutex mutex;
  CondVar changed;
  bool drained = false, drained_before = false;
  std::optional<Outbox> outbox(std::in_place, link_, "jobs/a", 1,
                               Outbox::Stops{stop_, checkpoints_}, [&](const absl::Status&) {
                                 Clock& clock = Clock::Real();
                                 const absl::Duration long_enough =
                                     clock.Boottime() + absl::Milliseconds(200);
                                 MutexLock lock(mutex);
                                 while (!drained && clock.WaitUntil(changed, mutex, long_enough)) {
                                 }
                                 drained_before = drained;
                               });
  outbox->AddEvent(Metrics(1));
  const absl::StatusOr<int64_t> last = outbox->Drain();
  {
    MutexLock lock(mutex);
    drained = true;
    changed.NotifyAll();
  }
  outbox.reset();  // The thread that was told is over.
  EXPECT_TRUE(absl::IsInvalidArgument(last.status())) << last.status();
  EXPECT_FALSE(drained_before);
}

TEST_F(OutboxTest, WhatWasStoppedIsNotRefused) {
  server_.HoldReports();
  bool refused = false;
  Outbox outbox(link_, "jobs/a", 1, {stop_, checkpoints_},
                [&](const absl::Status&) { refused = true; });
  outbox.AddEvent(Metrics(1));
  server_.WaitUntilHeld();
  stop_.Stop();
  EXPECT_TRUE(absl::IsCancelled(outbox.Drain().status()));
  EXPECT_FALSE(refused);
}

TEST_F(OutboxTest, AnUploadThatBeganEndsThoughTheEngineRemovesTheCheckpoint) {
  server_.HoldTransfers();
  Outbox outbox(link_, "jobs/a", 1, {stop_, checkpoints_}, [](const absl::Status&) {});
  outbox.AddCheckpoint(DirectoryOf(5), Write(5, {"first", "second"}));
  server_.WaitUntilHeld();
  ASSERT_TRUE(RemoveTree(DirectoryOf(5)).ok());
  server_.ReleaseTransfers();
  EXPECT_TRUE(outbox.Drain().ok());
  EXPECT_EQ(server_.History("a"), std::vector<std::string>{"checkpoint 5"});
  EXPECT_FALSE(DirectoryExists(DirectoryOf(5) + ".upload"));
}

TEST_F(OutboxTest, ACheckpointWaitsForRoomOnTheServersDiskAndSaysSoOnce) {
  server_.RefuseUploads(3);
  Outbox outbox(link_, "jobs/a", 1, {stop_, checkpoints_}, [](const absl::Status&) {});
  outbox.AddCheckpoint(DirectoryOf(5), Write(5, {"state"}));
  EXPECT_EQ(outbox.Drain().value(), 1) << "batches";
  const v1::Warning warning = server_.LastReport("a").events(0).warning();
  EXPECT_EQ(warning.code(), "DISK_FULL");
  EXPECT_EQ(warning.text(),
            "the server has no room for the checkpoint of step 5, which is sent when there is: "
            "state: no room");
  EXPECT_EQ(server_.History("a").back(), "checkpoint 5");
}

TEST_F(OutboxTest, ACheckpointThatNobodyWaitsForAnyMoreIsLeftOut) {
  server_.HoldTransfers();
  Outbox outbox(link_, "jobs/a", 1, {stop_, checkpoints_}, [](const absl::Status&) {});
  outbox.AddCheckpoint(DirectoryOf(5), Write(5, {"state"}));
  outbox.AddEvent(Metrics(6));
  server_.WaitUntilHeld();
  checkpoints_.Stop();
  EXPECT_TRUE(outbox.Drain().ok());
  EXPECT_EQ(server_.History("a"), std::vector<std::string>{"event 6"});
}

}  // namespace
}  // namespace graft
