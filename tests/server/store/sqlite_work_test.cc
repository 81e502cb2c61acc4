// What SQLite has to do for what the store is asked, as its own counters tell: work and not time.

#include <map>

#include "common/base/limits.h"
#include "server/store/catalogue_verbs.h"
#include "server/store/job_verbs.h"
#include "server/store/sqlite_backend.h"
#include "server/store/transactional_store.h"
#include "tests/fakes/sqlite_work.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

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
