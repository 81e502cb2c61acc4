// What the SQLite store does when the disk fails, and what is left when its process is killed.

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <thread>

#include "tests/server/store/faulty_store.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

// A store on the VFS whose writes and syncs fail when told to.
class FaultTest : public ::testing::Test {
 protected:
  ~FaultTest() override { ResetFaults(); }
  size_t NumJobs() { return faulty_->ListJobs({})->items.size(); }

  StoreFixture fixture_{StoreKind::kSqlite};
  const std::unique_ptr<JobStore> faulty_ = OpenFaultyStore(fixture_);
  int lost_ids_ = 0;  // The writer thread's.
};

TEST_F(FaultTest, FullDiskRefusesWritesLetsReadsGoOnAndRecovers) {
  ASSERT_OK(faulty_->InsertJob(StoreFixture::LoraJob()));
  const LeaseRef lease = {"jobs/j1", 1, kWorker};
  ASSERT_OK(faulty_->ClaimJob({"jobs/j1", (*faulty_->QueuedJobs(1))[0].version, kWorker, ""}));
  Faults().write_error = SQLITE_FULL;
  for (int i = 0; i < 3; ++i) {
    const auto refused = faulty_->InsertJob(StoreFixture::LoraJob());
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ReasonOf(refused.status()), kReasonDiskFull);
    EXPECT_EQ(NumJobs(), 1u);
  }
  EXPECT_TRUE((*faulty_->RenewLeases(kWorker, {{lease.job, lease.lease_epoch}}))[0].held);
  ResetFaults();
  EXPECT_OK(faulty_->InsertJob(StoreFixture::LoraJob()));
  EXPECT_EQ(NumJobs(), 2u);
}

TEST_F(FaultTest, AFullDiskTakesCancelsAndDeletions) {
  ASSERT_OK(faulty_->InsertJob(StoreFixture::LoraJob()));
  const std::string reserve = JoinPath(fixture_.root(), "faulty.db.reserve");
  if (*FileSize(reserve) == 0) GTEST_SKIP() << "this file system sets no room aside";
  Faults().full_beside = reserve.c_str();
  EXPECT_EQ(ReasonOf(faulty_->InsertJob(StoreFixture::LoraJob()).status()), kReasonDiskFull);
  EXPECT_GT(*FileSize(reserve), 0) << "it is not for this";
  const auto cancelled = faulty_->CancelJob("jobs/j1", {});
  ASSERT_OK(cancelled);
  EXPECT_EQ(cancelled->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_GT(*FileSize(reserve), 0) << "what is left of it is taken back";
  EXPECT_EQ(ReasonOf(faulty_->InsertJob(StoreFixture::LoraJob()).status()), kReasonDiskFull);
  EXPECT_OK(faulty_->DeleteJob("jobs/j1", false, {}));
  EXPECT_OK(faulty_->DeleteDataset("train"));
  EXPECT_EQ(NumJobs(), 0u);
}

TEST_F(FaultTest, ACancelledAttemptEndsOnAFullDiskAndOthersDoNot) {
  const LeaseRef cancelled = {"jobs/j1", 1, kWorker}, running = {"jobs/j2", 1, kWorker};
  for (const LeaseRef& lease : {cancelled, running}) {
    ASSERT_OK(faulty_->InsertJob(StoreFixture::LoraJob()));
    ASSERT_OK(faulty_->ClaimJob({lease.job, (*faulty_->QueuedJobs(1))[0].version, kWorker, ""}));
  }
  const std::string reserve = JoinPath(fixture_.root(), "faulty.db.reserve");
  if (*FileSize(reserve) == 0) GTEST_SKIP() << "this file system sets no room aside";
  Faults().full_beside = reserve.c_str();
  EXPECT_EQ(faulty_->CancelJob("jobs/j1", {})->state(), v1::JOB_STATE_CANCELLING);
  EventBatch last_words;
  last_words.number = 1;
  last_words.events.emplace_back().mutable_warning()->set_code("LAST");
  EXPECT_EQ(*faulty_->AppendEvents(cancelled, last_words), 1);
  EXPECT_EQ(*faulty_->FinishAttempt(cancelled, 1, AttemptCancelled()), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(ReasonOf(faulty_->AppendEvents(running, last_words).status()), kReasonDiskFull);
  EXPECT_EQ(ReasonOf(faulty_->FinishAttempt(running, 0, AttemptCancelled()).status()),
            kReasonDiskFull);
  EXPECT_GT(*FileSize(reserve), 0) << "what is left of it is taken back";
}

TEST_F(FaultTest, FailedCommitLeavesTimesAsTheyWere) {
  ASSERT_OK(faulty_->InsertJob(StoreFixture::LoraJob()));
  ASSERT_OK(faulty_->ClaimJob({"jobs/j1", (*faulty_->QueuedJobs(1))[0].version, kWorker, ""}));
  fixture_.clock().Advance(absl::Seconds(50));
  const auto left = [&] { return *faulty_->NextExpiry() - fixture_.clock().Boottime(); };
  Faults().write_error = SQLITE_FULL;
  const auto failure = StoreFixture::Failure(v1::FAILURE_CLASS_INFRASTRUCTURE, "killed");
  EXPECT_EQ(ReasonOf(faulty_->FinishAttempt({"jobs/j1", 1, kWorker}, 0, failure).status()),
            kReasonDiskFull);
  EXPECT_EQ(left(), absl::Seconds(10));
  EXPECT_EQ(faulty_->NextRetry(), absl::InfiniteDuration());
  EXPECT_EQ(ReasonOf(faulty_->ReleaseOtherInstances({kWorker.id, "i-9"}).status()),
            kReasonDiskFull);
  EXPECT_EQ(left(), absl::Seconds(10));
  ResetFaults();
  fixture_.clock().Advance(absl::Seconds(10));
  EXPECT_THAT(*faulty_->ExpireLeases(), ElementsAre("jobs/j1"));
}

TEST_F(FaultTest, WritesOfAGroupGoThroughNoTemporaryFile) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) EXPECT_OK(faulty_->InsertJob(StoreFixture::LoraJob()));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Faults().temporary_files, 0);
}

TEST_F(FaultTest, EachWriteOfAGroupHasTheEffectsOfItsOwnLastRun) {
  auto listeners = std::make_shared<JobListeners>();
  auto backend = OpenSqliteBackend({JoinPath(fixture_.root(), "group.db"), FaultVfs()},
                                   fixture_.options(), listeners);
  ASSERT_OK(backend);
  Faults().write_error = SQLITE_FULL;
  int lost = 0, kept = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, writes = t % 2 == 0] {
      const absl::Status status =
          (*backend)->Write(WritePlace::kAnywhere, [&](Tables& tables, WriteEffects& effects) {
            EXPECT_EQ(effects.after_commit, nullptr);
            effects.after_commit = [&] { ++(writes ? lost : kept); };
            if (!writes) return absl::OkStatus();
            return tables.PutRequest({"verb", absl::StrCat(std::string(9000, 'x'), ++lost_ids_), "",
                                      "", fixture_.clock().Now()});
          });
      EXPECT_EQ(status.ok(), !writes) << status;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lost, 0);
  EXPECT_EQ(kept, 8);
}

TEST_F(FaultTest, FailedWriteAtAnyPointStoresAllOrNothing) {
  size_t expected = 0;
  int failures = 0;
  for (int writes = 0; writes < 200 && expected < 5; ++writes) {
    Faults().writes_before = writes;
    Faults().write_error = SQLITE_IOERR_WRITE;
    const auto job = faulty_->InsertJob(StoreFixture::LoraJob());
    ResetFaults();
    if (job.ok()) {
      ++expected;
    } else {
      ++failures;
      EXPECT_EQ(job.status().code(), absl::StatusCode::kUnavailable) << job.status();
    }
    EXPECT_EQ(NumJobs(), expected) << "after " << writes << " writes";
    const auto page = faulty_->ListJobs({});
    ASSERT_OK(page);
    for (const v1::Job& stored : page->items) {
      EXPECT_EQ(faulty_->ReadEvents(stored.name(), 0, 10)->size(), 1u);
    }
  }
  EXPECT_GT(failures, 0);
  EXPECT_EQ(expected, 5u);
}

TEST_F(FaultTest, FailedSyncEndsTheProcess) {
  EXPECT_EXIT(
      {
        // The child has no writer thread: it needs a store of its own.
        StoreFixture child(StoreKind::kMemory);
        const auto store = OpenFaultyStore(child);
        Faults().sync_error = SQLITE_IOERR_FSYNC;
        (void)store->InsertJob(StoreFixture::LoraJob());
      },
      ::testing::ExitedWithCode(kFailedSyncExitCode), "cannot sync .*faulty.db");
}

// ---- Killed servers ---------------------------------------------------------------------------

// Writes jobs from several threads and names each acknowledged one, a line each, until it is
// killed.
[[noreturn]] void WriteJobsForever(const std::string& uri, int output) {
  auto store = OpenJobStore(uri, {});
  if (!store.ok()) ::_exit(1);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (true) {
        const auto job = (*store)->InsertJob(StoreFixture::LoraJob());
        if (!job.ok()) ::_exit(2);
        const std::string line = job->name() + "\n";
        if (::write(output, line.data(), line.size()) < 0) ::_exit(3);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ::_exit(4);
}

TEST(SqliteKillTest, NoAcknowledgedJobIsLostToSigkill) {
  StoreFixture fixture(StoreKind::kMemory);
  const std::string uri = "sqlite:" + JoinPath(fixture.root(), "killed.db");
  StoreFixture::Fill(**OpenJobStore(uri, {}));
  std::set<std::string> acknowledged;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) WriteJobsForever(uri, ends[1]);
    ::close(ends[1]);
    std::string text;
    char buffer[4096];
    const size_t enough = 20 + 37 * round;
    while (static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) < enough) {
      const ssize_t count = ::read(ends[0], buffer, sizeof(buffer));
      ASSERT_GT(count, 0) << "the child ended by itself";
      text.append(buffer, count);
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    for (ssize_t count; (count = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
      text.append(buffer, count);
    }
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      acknowledged.insert(text.substr(begin, end - begin));
    }
    auto store = OpenJobStore(uri, {});
    ASSERT_OK(store);
    for (const std::string& name : acknowledged) {
      const auto job = (*store)->GetJob(name);
      ASSERT_OK(job);
      EXPECT_EQ(job->last_sequence(), 1);
    }
    // At most what the four threads had in flight is there without an answer.
    EXPECT_LE((*store)->Counts()->jobs[0].count,
              static_cast<int64_t>(acknowledged.size()) + 4 * (round + 1));
  }
}

}  // namespace
}  // namespace graft
