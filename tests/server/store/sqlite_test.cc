// What only the SQLite store promises: that it lasts, and that it has one owner.

#include <sqlite3.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "common/base/service_manager.h"
#include "common/base/stop_signal.h"
#include "server/store/schema.h"
#include "tests/fakes/notify_socket.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class SqliteTest : public ::testing::Test {
 protected:
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

TEST_F(SqliteTest, JobsOfTheThirdSchemaHaveTheirTimes) {
  fixture_.Submit();
  const absl::Time submitted = fixture_.clock().Now();
  ASSERT_OK(store().CancelJob(fixture_.Submit().name(), {}));
  fixture_.clock().Advance(absl::Hours(1));
  ExecuteSql(
      path(),
      "DROP TABLE store_identity; DROP TABLE unnamed_blobs;"
      "DROP TABLE study_events; DROP TABLE trial_specs; DROP TABLE study_trials;"
      "DROP TABLE studies; DROP INDEX requests_by_running_time;"
      "ALTER TABLE requests DROP COLUMN running_time_ns;"
      "CREATE INDEX requests_by_time ON requests (create_time_ns);"
      "DROP TRIGGER count_removed_job; DROP TRIGGER queue_inserted_job; DROP TRIGGER "
      "queue_updated_job; DROP TRIGGER queue_reranked_job; DROP INDEX checkpoints_kept;"
      "ALTER TABLE checkpoints DROP COLUMN kept_since_ns;"
      "ALTER TABLE checkpoints DROP COLUMN pinned;"
      "ALTER TABLE checkpoints DROP COLUMN create_time_ns;"
      "DROP TABLE queue_sizes; DROP INDEX jobs_by_queue_time; DROP INDEX jobs_queue_by_needs;"
      "PRAGMA user_version = 3; ALTER TABLE jobs DROP COLUMN needs;"
      "ALTER TABLE jobs DROP COLUMN failure_place;"
      "ALTER TABLE jobs DROP COLUMN failure_cause;"
      "ALTER TABLE jobs DROP COLUMN failure_ran_ms;"
      "ALTER TABLE jobs DROP COLUMN failures_alike;"
      "ALTER TABLE jobs DROP COLUMN evaluated_step;"
      "ALTER TABLE jobs DROP COLUMN evaluated_rows;"
      "ALTER TABLE jobs DROP COLUMN saved_step;"
      "DROP INDEX jobs_by_deadline; ALTER TABLE jobs DROP COLUMN deadline_ns;"
      "DROP INDEX jobs_by_times; ALTER TABLE jobs DROP COLUMN create_time_ns;"
      "ALTER TABLE jobs DROP COLUMN end_time_ns;"
      "DROP INDEX jobs_end_marked; ALTER TABLE jobs DROP COLUMN end_marked;"
      "DROP INDEX jobs_done_since; ALTER TABLE jobs DROP COLUMN done_since_ns;"
      "ALTER TABLE attempts DROP COLUMN progressed;"
      "ALTER TABLE checkpoints DROP COLUMN needs;"
      "ALTER TABLE jobs RENAME COLUMN queue_time_ns TO create_time_ns");
  fixture_.options().job_lifetime = absl::Minutes(1);
  fixture_.Reopen();
  EXPECT_THAT(*store().PruneJobs(), IsEmpty()) << "what has ended already counts from now on";
  EXPECT_EQ(store().Counts()->oldest_queued, submitted);
  JobQuery query;
  query.filter.create_time = {submitted, submitted + absl::Nanoseconds(1)};
  EXPECT_THAT(store().ListJobs(query)->items, SizeIs(2));
  query.filter.end_time = query.filter.create_time;
  EXPECT_THAT(store().ListJobs(query)->items, SizeIs(1));
  EXPECT_OK(fixture_.ClaimNext(kWorker));
  fixture_.clock().Advance(absl::Minutes(2));
  EXPECT_THAT(*store().PruneJobs(), SizeIs(1));
}

TEST_F(SqliteTest, AgesOfJobsGoOnAfterARestart) {
  fixture_.options().job_lifetime = absl::Hours(24);
  fixture_.Reopen();
  ASSERT_OK(store().CancelJob(fixture_.Submit().name(), {}));
  fixture_.clock().Advance(absl::Hours(20));
  ASSERT_OK(store().SaveRunningTime());
  fixture_.Reopen();
  fixture_.clock().Advance(absl::Hours(3));
  EXPECT_THAT(*store().PruneJobs(), IsEmpty());
  fixture_.clock().Advance(absl::Hours(2));
  EXPECT_THAT(*store().PruneJobs(), SizeIs(1));
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

TEST_F(SqliteTest, AWriterThatIsStuckSilencesTheWatchdog) {
  NotifySocket socket(JoinPath(fixture_.root(), "notify"));
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  const ServiceManager manager = ServiceManager::FromEnvironment();
  std::atomic<bool> stuck = false;
  StopSignal go_on;
  fixture_.options().on_commit = [&](absl::Duration, int) {
    stuck = true;
    while (!go_on.WaitFor(absl::Seconds(1))) {
    }
  };
  fixture_.Reopen();
  FakeClock clock;
  std::atomic<int> asked = 0;
  const auto prove = [&] {
    ++asked;
    EXPECT_OK(store().Ping());
  };
  const Watchdog watchdog(manager, prove, clock);
  EXPECT_EQ(socket.Next(), "WATCHDOG=1");
  std::thread writer([&] { fixture_.Submit(); });
  while (!stuck) std::this_thread::yield();
  clock.Advance(absl::Seconds(1));
  while (asked < 2) std::this_thread::yield();
  EXPECT_EQ(socket.NextNow(), "");
  go_on.Stop();
  writer.join();
  EXPECT_EQ(socket.Next(), "WATCHDOG=1");
}

TEST_F(SqliteTest, RenewalsAndRefusalsWriteNothing) {
  const LeaseRef lease = fixture_.Start(kWorker);
  std::atomic<int> commits = 0;
  fixture_.options().on_commit = [&](absl::Duration, int) { ++commits; };
  fixture_.Reopen();
  EXPECT_TRUE((*store().RenewLeases(kWorker, {{lease.job, lease.lease_epoch}}))[0].held);
  EXPECT_FALSE(store().CancelJob("none", {}).ok());
  EXPECT_OK(store().Ping());
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
  EXPECT_TRUE(absl::IsNotFound(store().GetJob(lease.job).status()));
  EXPECT_EQ(store().Counts()->events, empty.events);
  EXPECT_LE(commits.size(), 2u) << "whoever deletes it does not wait for all";
  while (*store().PurgeDeleted()) {
  }
  EXPECT_GE(commits.size(), 6u) << "2,000 rows at a time, of events and of logged numbers";
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

TEST_F(SqliteTest, ASubmittedJobIsWrittenOnce) {
  ExecuteSql(path(),
             "CREATE TRIGGER once BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'again'); END");
  EXPECT_OK(store().InsertJob(StoreFixture::LoraJob()));
}

}  // namespace
}  // namespace graft
