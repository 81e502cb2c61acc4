// What only the SQLite store promises: that it lasts, that it has one owner, and what happens when
// the disk fails.

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "common/base/limits.h"
#include "server/store/catalogue_verbs.h"
#include "server/store/job_verbs.h"
#include "server/store/schema.h"
#include "server/store/sqlite_backend.h"
#include "server/store/transactional_store.h"
#include "tests/fakes/sqlite_work.h"
#include "tests/server/store/faulty_store.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class SqliteTest : public ::testing::Test {
 protected:
  ~SqliteTest() override { ResetFaults(); }
  JobStore& store() { return fixture_.store(); }
  std::string path() const { return JoinPath(fixture_.root(), "graft.db"); }
  absl::Status OpenStatus(const std::string& uri) {
    return OpenJobStore(uri, fixture_.options()).status();
  }
  StoreFixture fixture_{StoreKind::kSqlite};
};

void ExecuteSql(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

TEST_F(SqliteTest, EverythingIsThereAfterReopening) {
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().AppendEvents(lease, StoreFixture::Batch(1, {StoreFixture::LossEvent(1, 2)})));
  ASSERT_OK(store().CommitCheckpoint(lease, {1, {StoreFixture::File("state", '5')}}));
  fixture_.Submit(3);
  const v1::Job before = fixture_.Get("jobs/j1");
  const auto events = fixture_.Events("jobs/j1");
  fixture_.Reopen();
  EXPECT_EQ(fixture_.Get("jobs/j1").DebugString(), before.DebugString());
  EXPECT_EQ(fixture_.Get("jobs/j2").queue_position(), 1);
  ASSERT_EQ(fixture_.Events("jobs/j1").size(), events.size());
  // The worker goes on under its lease, and the sequence without a gap.
  ASSERT_OK(store().AppendEvents(lease, StoreFixture::Batch(2, {StoreFixture::LossEvent(2, 2)})));
  EXPECT_EQ(fixture_.Events("jobs/j1").back().sequence(), static_cast<int64_t>(events.size()) + 1);
  ASSERT_OK(store().FinishAttempt(lease, 2, StoreFixture::Success()));
  fixture_.Reopen();
  EXPECT_OK(store().GetAdapter("j1"));
  EXPECT_EQ(store().Counts()->events, static_cast<int64_t>(events.size()) + 3);
}

TEST_F(SqliteTest, RestartGrantsEveryLeaseAFullTerm) {
  const LeaseRef lease = fixture_.Start(kWorker);
  fixture_.clock().Advance(absl::Seconds(1000));
  fixture_.Reopen();
  EXPECT_THAT(*store().ExpireLeases(), IsEmpty());
  fixture_.clock().Advance(absl::Seconds(59));
  EXPECT_THAT(*store().ExpireLeases(), IsEmpty());
  fixture_.clock().Advance(absl::Seconds(1));
  EXPECT_THAT(*store().ExpireLeases(), ElementsAre("jobs/j1"));
}

TEST_F(SqliteTest, AReadBeginsNoTerm) {
  const LeaseRef lease = fixture_.Start(kWorker);
  fixture_.Reopen();
  ASSERT_OK(store().NextExpiry());
  ASSERT_OK(store().GetJob(lease.job));
  fixture_.clock().Advance(absl::Seconds(30));
  EXPECT_THAT(*store().ExpireLeases(), IsEmpty());
  EXPECT_EQ(*store().NextExpiry() - fixture_.clock().Boottime(), absl::Seconds(60));
}

TEST_F(SqliteTest, ALeaseIsNotRenewedAndEndedAtOnce) {
  for (int round = 0; round < 100; ++round) {
    const LeaseRef lease = fixture_.Start(kWorker);
    fixture_.clock().Advance(absl::Seconds(60));
    bool held = false;
    size_t ended = 0;
    std::vector<std::thread> threads;
    // While this is committed the others may gather in one group.
    threads.emplace_back([&] { fixture_.Submit(); });
    threads.emplace_back([&] {
      held = (*store().RenewLeases(kWorker, {{lease.job, lease.lease_epoch}}))[0].held;
    });
    threads.emplace_back([&] { ended = store().ExpireLeases()->size(); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_NE(held, ended > 0);
    fixture_.clock().Advance(absl::Seconds(60));
    ASSERT_OK(store().ExpireLeases());
    const auto queued = store().ListJobs({.filter = {.done = false}});
    ASSERT_OK(queued);
    for (const v1::Job& job : queued->items) ASSERT_OK(store().CancelJob(job.name(), {}));
  }
}

TEST_F(SqliteTest, SecondServerIsRefusedWithTheFirstOnesProcess) {
  const absl::Status status = OpenStatus(fixture_.uri());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), kReasonStoreOwned);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("in use by another graft-server (process ", ::getpid(), ")")));
  fixture_.Submit();  // The first is untouched.
}

TEST_F(SqliteTest, ServerThatLostItsFileStopsWriting) {
  // As if the lock file had been deleted and a second server started.
  ExecuteSql(path(), "UPDATE store_state SET instance = 'another'");
  const auto refused = store().InsertJob(StoreFixture::LoraJob());
  EXPECT_EQ(ReasonOf(refused.status()), kReasonStoreOwned);
  EXPECT_THAT(store().ListJobs({})->items, IsEmpty());
}

TEST_F(SqliteTest, OtherFilesAreRefused) {
  const std::string newer = JoinPath(fixture_.root(), "newer.db");
  ASSERT_OK(OpenStatus("sqlite:" + newer));
  ExecuteSql(newer, absl::StrCat("PRAGMA user_version = ", SchemaSteps().size() + 1));
  const absl::Status too_new = OpenStatus("sqlite:" + newer);
  EXPECT_EQ(too_new.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(too_new), kReasonStoreNewer);

  const std::string foreign = JoinPath(fixture_.root(), "foreign.db");
  ExecuteSql(foreign, "CREATE TABLE t (a)");
  const std::string before = *ReadFile(foreign, 1 << 20);
  EXPECT_EQ(OpenStatus("sqlite:" + foreign).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(*ReadFile(foreign, 1 << 20), before) << "somebody else's file was changed";

  const std::string text = JoinPath(fixture_.root(), "text.db");
  ASSERT_OK(WriteFileAtomically(text, std::string(5000, 'x')));
  EXPECT_EQ(OpenStatus("sqlite:" + text).code(), absl::StatusCode::kDataLoss);

  for (const char* uri : {"", "sqlite:", "postgres://x", "memory"}) {
    EXPECT_EQ(OpenStatus(uri).code(), absl::StatusCode::kInvalidArgument) << uri;
  }
}

TEST_F(SqliteTest, JobsOfTheThirdSchemaWaitSinceTheyWereSubmitted) {
  fixture_.Submit();
  const absl::Time submitted = fixture_.clock().Now();
  fixture_.clock().Advance(absl::Hours(1));
  ExecuteSql(
      path(),
      "DROP TABLE store_identity; DROP TABLE unnamed_blobs;"
      "DROP INDEX requests_by_running_time;"
      "ALTER TABLE requests DROP COLUMN running_time_ns;"
      "CREATE INDEX requests_by_time ON requests (create_time_ns);"
      "DROP TRIGGER count_removed_job; DROP TRIGGER queue_inserted_job; DROP TRIGGER "
      "queue_updated_job;"
      "DROP TABLE queue_sizes; DROP INDEX jobs_by_queue_time; DROP INDEX jobs_queue_by_needs;"
      "PRAGMA user_version = 3; ALTER TABLE jobs DROP COLUMN needs;"
      "ALTER TABLE jobs DROP COLUMN failure_place;"
      "ALTER TABLE jobs DROP COLUMN failure_cause;"
      "ALTER TABLE jobs DROP COLUMN failure_ran_ms;"
      "ALTER TABLE jobs DROP COLUMN failures_alike;"
      "ALTER TABLE jobs DROP COLUMN evaluated_step;"
      "ALTER TABLE jobs DROP COLUMN evaluated_rows;"
      "ALTER TABLE attempts DROP COLUMN progressed;"
      "ALTER TABLE jobs RENAME COLUMN queue_time_ns TO create_time_ns");
  fixture_.Reopen();
  EXPECT_EQ(store().Counts()->oldest_queued, submitted);
  EXPECT_OK(fixture_.ClaimNext(kWorker));
}

TEST_F(SqliteTest, StoreIsMadeWithItsDirectory) {
  EXPECT_OK(OpenStatus("sqlite:" + JoinPath(fixture_.root(), "new/deep/graft.db")));
}

TEST_F(SqliteTest, WaitingWritersShareCommits) {
  std::atomic<int> commits = 0, changes = 0;
  fixture_.options().on_commit = [&](absl::Duration, int count) {
    ++commits;
    changes += count;
  };
  std::atomic<int> ids = 0;
  fixture_.options().new_job_id = [&] { return absl::StrCat("c", ++ids); };
  fixture_.Reopen();
  constexpr int kThreads = 16, kJobsEach = 10;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kJobsEach; ++i) EXPECT_OK(store().InsertJob(StoreFixture::LoraJob()));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store().QueuedJobs(1000)->size(), size_t{kThreads * kJobsEach});
  EXPECT_EQ(changes, kThreads * kJobsEach);
  EXPECT_LT(commits, kThreads * kJobsEach / 2);
}

TEST_F(SqliteTest, RefusedWriteInAGroupLeavesTheOthersAlone) {
  std::vector<std::thread> threads;
  std::atomic<int> stored = 0, refused = 0;
  std::atomic<int> ids = 0;
  fixture_.options().new_job_id = [&] { return absl::StrCat("g", ++ids); };
  fixture_.Reopen();
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      NewJob job = StoreFixture::LoraJob();
      job.request = {"same", t % 2 == 0 ? "even" : absl::StrCat("odd", t)};
      const auto answer = store().InsertJob(job);
      if (answer.ok()) ++stored;
      if (ReasonOf(answer.status()) == kReasonRequestIdReused) ++refused;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stored + refused, 16);
  EXPECT_THAT(store().ListJobs({})->items, SizeIs(1));
}

TEST_F(SqliteTest, RenewalsAndRefusalsWriteNothing) {
  const LeaseRef lease = fixture_.Start(kWorker);
  std::atomic<int> commits = 0;
  fixture_.options().on_commit = [&](absl::Duration, int) { ++commits; };
  fixture_.Reopen();
  EXPECT_TRUE((*store().RenewLeases(kWorker, {{lease.job, lease.lease_epoch}}))[0].held);
  EXPECT_FALSE(store().CancelJob("none", {}).ok());
  EXPECT_THAT(*store().ExpireLeases(), IsEmpty());
  EXPECT_EQ(commits, 0);
}

TEST_F(SqliteTest, ADeletedJobIsGoneAtOnceAndItsRowsSomeAtATime) {
  const LeaseRef lease = fixture_.Start(kWorker);
  constexpr int kBatches = 5, kEvents = 1000;
  for (int batch = 1; batch <= kBatches; ++batch) {
    std::vector<v1::JobEvent> events;
    for (int i = 0; i < kEvents; ++i) {
      events.push_back(StoreFixture::LossEvent(batch * kEvents + i, 1));
    }
    ASSERT_OK(store().AppendEvents(lease, StoreFixture::Batch(batch, events)));
  }
  ASSERT_OK(store().CancelJob(lease.job, {}));
  ASSERT_OK(store().FinishAttempt(lease, kBatches, AttemptCancelled{}));
  const StoreCounts empty = [&] {
    StoreFixture other(StoreKind::kSqlite, FastDirectory());
    return *other.store().Counts();
  }();
  std::vector<int> commits;
  fixture_.options().on_commit = [&](absl::Duration, int count) { commits.push_back(count); };
  fixture_.Reopen();
  ASSERT_OK(store().DeleteJob(lease.job, false, {}));
  EXPECT_GE(commits.size(), 6u) << "2,000 rows at a time, of events and of logged numbers";
  EXPECT_TRUE(absl::IsNotFound(store().GetJob(lease.job).status()));
  EXPECT_EQ(store().Counts()->events, empty.events);
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
  for (const char* table : {"jobs", "events", "logged_steps", "attempts"}) {
    sqlite3_stmt* statement = nullptr;
    const std::string sql = absl::StrCat("SELECT COUNT(*) FROM ", table);
    ASSERT_EQ(sqlite3_prepare_v2(database, sql.c_str(), -1, &statement, nullptr), SQLITE_OK);
    ASSERT_EQ(sqlite3_step(statement), SQLITE_ROW);
    EXPECT_EQ(sqlite3_column_int(statement, 0), 0) << table;
    sqlite3_finalize(statement);
  }
  sqlite3_close(database);
}

TEST_F(SqliteTest, AListenerThatTakesLongHoldsNoWriterUp) {
  Mutex mutex;
  CondVar changed;
  bool released = false;
  int told = 0;
  const auto subscription = store().Subscribe("", [&](const JobChange&) {
    MutexLock lock(mutex);
    while (!released) changed.Wait(mutex);
    ++told;
    changed.NotifyAll();
  });
  for (int i = 0; i < 3; ++i) fixture_.Submit();
  MutexLock lock(mutex);
  EXPECT_EQ(told, 0);
  released = true;
  changed.NotifyAll();
  while (told < 3) changed.Wait(mutex);
}

// ---- Failing disks ----------------------------------------------------------------------------

// A store on the VFS whose writes and syncs fail when told to.
class FaultTest : public SqliteTest {
 protected:
  size_t NumJobs() { return faulty_->ListJobs({})->items.size(); }

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
            return tables.InsertRequest({"verb", absl::StrCat(std::string(9000, 'x'), ++lost_ids_),
                                         "", "", fixture_.clock().Now()});
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

// ---- Size -------------------------------------------------------------------------------------

TEST_F(SqliteTest, ASubmittedJobIsWrittenOnce) {
  ExecuteSql(path(),
             "CREATE TRIGGER once BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'again'); END");
  EXPECT_OK(store().InsertJob(StoreFixture::LoraJob()));
}

TEST(SqliteSizeTest, WhatWasAskedBeforeIsNotCompiledAgain) {
  SqliteMeter meter;
  StoreFixture fixture(StoreKind::kSqlite, FastDirectory());
  const auto use = [&](const std::string& request) {
    NewJob job = StoreFixture::LoraJob();
    job.request = {request, "body"};
    const auto inserted = fixture.store().InsertJob(job);
    EXPECT_OK(inserted);
    EXPECT_OK(fixture.store().GetJob(inserted->name()));
    // Refused, and undone.
    job.request.body_sha256 = "another";
    EXPECT_FALSE(fixture.store().InsertJob(job).ok());
  };
  use("request-1");
  EXPECT_GT(meter.Take().compiled, 0);
  use("request-2");
  EXPECT_EQ(meter.Take().compiled, 0);
}

TEST(SqliteSizeTest, LeasesThatAreNotDueCostNoWrite) {
  SqliteMeter meter;
  StoreFixture fixture(StoreKind::kSqlite, FastDirectory());
  fixture.Start(kWorker);
  meter.Take();
  EXPECT_THAT(*fixture.store().ExpireLeases(), IsEmpty());
  EXPECT_EQ(meter.Take().writing, 0);
  fixture.clock().Advance(absl::Seconds(60));
  EXPECT_THAT(*fixture.store().ExpireLeases(), SizeIs(1));
  EXPECT_GT(meter.Take().writing, 0);
}

TEST(SqliteSizeTest, OldAnswersGoSomeAtATime) {
  int commits = 0;
  StoreFixture fixture(StoreKind::kSqlite, FastDirectory());
  fixture.options().on_commit = [&](absl::Duration, int) { ++commits; };
  fixture.Reopen();
  const auto submit = [&](int count) {
    for (int i = 0; i < count; ++i) {
      NewJob job = StoreFixture::LoraJob();
      job.request = {absl::StrCat(absl::FormatDuration(fixture.clock().Boottime()), "-", i),
                     "body"};
      ASSERT_OK(fixture.store().InsertJob(job));
    }
  };
  submit(1001);
  fixture.clock().Advance(absl::Hours(25));
  submit(1);
  commits = 0;
  EXPECT_EQ(*fixture.store().PruneRequestIds(), 1001);
  EXPECT_EQ(commits, 3);
  EXPECT_EQ(*fixture.store().PruneRequestIds(), 0);
}

// Fills a new store file below the fixture's root with queued jobs, in one transaction: who waits
// for whom is not what this is about.
std::string StoreOfSize(StoreFixture& fixture, int jobs) {
  const std::string path = JoinPath(fixture.root(), "sized.db");
  const auto backend =
      OpenSqliteBackend({path}, fixture.options(), std::make_shared<JobListeners>());
  EXPECT_OK(backend);
  VolatileTimes times;
  const StoreOptions options = FillDefaults(fixture.options());
  EXPECT_OK((*backend)->Write(WritePlace::kAnywhere, [&](Tables& tables, WriteEffects&) {
    VerbContext context = {tables, options, times, absl::ZeroDuration()};
    absl::Status status = DoInsertModel(context, *fixture.store().GetModel("gpt2")).status();
    for (const char* name : {"train", "valid"}) {
      status.Update(DoInsertDataset(context, *fixture.store().GetDataset(name)).status());
    }
    for (int i = 0; i < jobs && status.ok(); ++i) {
      NewJob job = StoreFixture::LoraJob(i % 7);
      (*job.job.mutable_labels())["team"] = "a";
      status.Update(DoInsertJob(context, job).status());
    }
    return status;
  }));
  return path;
}

// What the server does while so many jobs wait, and SQLite's work for each.
std::map<std::string, SqliteWork> WorkWithQueueOf(int jobs) {
  StoreFixture fixture(StoreKind::kSqlite, FastDirectory());
  const std::string path = StoreOfSize(fixture, jobs);
  SqliteMeter meter;
  std::map<std::string, SqliteWork> work;
  const auto store = OpenJobStore("sqlite:" + path, fixture.options());
  EXPECT_OK(store);
  // The first call opens a reader.
  EXPECT_OK((*store)->Counts());
  work["open"] = meter.Take();
  EXPECT_OK((*store)->Counts());
  work["count"] = meter.Take();
  const auto queued = (*store)->QueuedJobs(32);
  EXPECT_THAT(*queued, SizeIs(32));
  work["snapshot of the queue"] = meter.Take();
  EXPECT_OK((*store)->ClaimJob({(*queued)[0].name, (*queued)[0].version, kWorker, ""}));
  work["claim"] = meter.Take();
  EXPECT_OK((*store)->InsertJob(StoreFixture::LoraJob(3)));
  work["submission"] = meter.Take();
  JobQuery query;
  for (const char* page : {"first page", "second page"}) {
    const auto listed = (*store)->ListJobs(query);
    EXPECT_THAT(listed->items, SizeIs(kDefaultPageSize));
    query.page_token = listed->next_page_token;
    work[page] = meter.Take();
  }
  // Filters that select no job, and such as select all of them.
  const std::vector<std::string> none = {"study = x",       "labels.team = x", "display_name = x",
                                         "state = RUNNING", "method = x",      "base_model = x"};
  const std::vector<std::string> all = {"labels.team = a", "state = QUEUED", "done = false",
                                        "method = lora", "base_model = gpt2"};
  for (const std::vector<std::string>* filters : {&none, &all}) {
    for (const std::string& filter : *filters) {
      for (const JobOrder order :
           {JobOrder::kNewestFirst, JobOrder::kOldestFirst, JobOrder::kPriority}) {
        // What is selected by one index and ordered by another has to be sorted.
        if (filters == &all && order == JobOrder::kPriority && filter != "state = QUEUED") continue;
        JobQuery filtered;
        filtered.order = order;
        filtered.filter = *ParseJobFilter(filter);
        EXPECT_OK((*store)->ListJobs(filtered));
        work[absl::StrCat(filter, ", order ", static_cast<int>(order))] = meter.Take();
      }
    }
  }
  return work;
}

// The place in the queue is known without counting it: every heartbeat of a watcher asks for it.
TEST(SqliteSizeTest, APlaceInALongQueueIsLittleWork) {
  StoreFixture fixture(StoreKind::kSqlite, FastDirectory());
  const std::string path = StoreOfSize(fixture, 10'000);
  SqliteMeter meter;
  const auto store = OpenJobStore("sqlite:" + path, fixture.options());
  ASSERT_OK(store);
  // Priorities go from 0 to 6, in turn.
  ASSERT_OK((*store)->GetJob("jobs/j1"));
  meter.Take();
  const auto last = (*store)->GetJob("jobs/j9997");
  EXPECT_LT(meter.Take().steps, 4'000);
  ASSERT_OK(last);
  EXPECT_EQ(last->priority(), 0);
  EXPECT_EQ(last->queue_position(), 10'000);
}

// Whatever reads the jobs that it does not return (a scan where a search should be, a sort of the
// queue) takes more steps for more jobs.
TEST(SqliteSizeTest, TenThousandQueuedJobsAreTheWorkOfTwoHundred) {
  const std::map<std::string, SqliteWork> few = WorkWithQueueOf(200);
  const std::map<std::string, SqliteWork> many = WorkWithQueueOf(10'000);
  for (const auto& [what, work] : few) {
    EXPECT_GT(work.steps, 0) << what;
    EXPECT_EQ(many.at(what), work) << what;
  }
}

}  // namespace
}  // namespace graft
