// Many jobs that are deleted at once.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/jobs/timestamps.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class DeletionTest : public StoreTest {
 protected:
  // A job that was cancelled.
  std::string Cancelled() {
    const std::string name = fixture_.Submit().name();
    EXPECT_OK(store().CancelJob(name, {}));
    return name;
  }
  // A job that published an adapter under its id.
  std::string Succeeded() {
    const LeaseRef lease = fixture_.Start(kWorker);
    EXPECT_OK(store().FinishAttempt(lease, 0, StoreFixture::Success()));
    return lease.job;
  }
  static JobPurge PurgeOf(const std::string& filter, bool force, const std::string& id = "") {
    JobPurge purge;
    purge.filter = *ParseJobFilter(filter);
    purge.force = force;
    purge.request = {id, "the same body"};
    return purge;
  }
  // What was told to have been deleted is in told_.
  absl::StatusOr<v1::PurgeJobsResponse> Purge(const JobPurge& purge) {
    return store().PurgeJobs(purge, [this](const std::vector<DeletedJob>& deleted) {
      told_.insert(told_.end(), deleted.begin(), deleted.end());
      return told_.size() >= break_off_at_ ? absl::CancelledError("enough") : absl::OkStatus();
    });
  }
  std::vector<std::string> Jobs(const std::string& filter = "") {
    JobQuery query;
    query.filter = *ParseJobFilter(filter);
    std::vector<std::string> names;
    const auto page = store().ListJobs(query);
    for (const v1::Job& job : page->items) names.push_back(job.name());
    return names;
  }

  std::vector<DeletedJob> told_;
  size_t break_off_at_ = 1'000'000;
};
INSTANTIATE_ON_EVERY_STORE(DeletionTest);

TEST_P(DeletionTest, APurgeDeletesWhatTheFilterFindsAndIsDoneAndNothingElse) {
  const std::string gone = Cancelled();
  const std::string other = Succeeded();
  const std::string also_gone = Cancelled();
  const std::string queued = fixture_.Submit().name();
  const auto would = Purge(PurgeOf("state = CANCELLED", /*force=*/false));
  ASSERT_OK(would);
  EXPECT_EQ(would->purge_count(), 2);
  EXPECT_THAT(would->purge_sample(), ElementsAre(also_gone, gone));
  EXPECT_THAT(Jobs(), SizeIs(4)) << "nothing is deleted without force";
  const auto purged = Purge(PurgeOf("state = CANCELLED", /*force=*/true));
  ASSERT_OK(purged);
  EXPECT_EQ(purged->SerializeAsString(), would->SerializeAsString());
  EXPECT_THAT(Jobs(), ElementsAre(queued, other));
  EXPECT_THAT(told_, SizeIs(2));
  EXPECT_EQ(Purge(PurgeOf("state = QUEUED", true))->purge_count(), 0);
  EXPECT_EQ(Purge(PurgeOf("done = false", true))->purge_count(), 0);
  EXPECT_THAT(Jobs(), SizeIs(2));
}

TEST_P(DeletionTest, JobsAreFoundByTheTimesOfTheirCreationAndEnd) {
  const std::string first = Cancelled();
  fixture_.clock().Advance(absl::Hours(1));
  const std::string second = Cancelled();
  const std::string queued = fixture_.Submit().name();
  const std::string time =
      absl::FormatTime(absl::RFC3339_full, fixture_.clock().Now(), absl::UTCTimeZone());
  const auto with = [&](const std::string& field) {
    return absl::StrCat(field, " \"", time, "\"");
  };
  EXPECT_THAT(Jobs(with("end_time <")), ElementsAre(first));
  EXPECT_THAT(Jobs(with("end_time <=")), ElementsAre(second, first));
  EXPECT_THAT(Jobs(with("end_time >=")), ElementsAre(second));
  EXPECT_THAT(Jobs(with("end_time >")), IsEmpty());
  EXPECT_THAT(Jobs(with("create_time >=")), ElementsAre(queued, second));
  EXPECT_THAT(Jobs(with("state = CANCELLED AND create_time >=")), ElementsAre(second));
  EXPECT_THAT(Jobs(with("create_time <")), ElementsAre(first));
  // A page of one query is none of another.
  JobQuery query;
  query.page_size = 1;
  query.filter = *ParseJobFilter(with("end_time <="));
  query.page_token = store().ListJobs(query)->next_page_token;
  EXPECT_THAT(store().ListJobs(query)->items, SizeIs(1));
  query.filter = *ParseJobFilter(with("end_time <"));
  EXPECT_EQ(store().ListJobs(query).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Purge(PurgeOf(with("end_time <"), true))->purge_count(), 1);
  EXPECT_THAT(Jobs(), ElementsAre(queued, second));
}

TEST_P(DeletionTest, AJobWhoseAdapterIsUsedIsLeftAndNamed) {
  const std::string free = Succeeded();
  const std::string used = Succeeded();
  NewJob user = StoreFixture::LoraJob();
  v1::FineTuneSpec& spec = *user.job.mutable_resolved_spec()->mutable_fine_tune();
  spec.set_init_from(used.substr(5));
  spec.set_init_from_sha256(std::string(64, 'f'));
  const auto trained_further = store().InsertJob(user);
  ASSERT_OK(trained_further);
  JobPurge purge = PurgeOf("done = true", /*force=*/false);
  purge.delete_adapters = true;
  for (const bool force : {false, true}) {
    purge.force = force;
    const auto answer = Purge(purge);
    ASSERT_OK(answer);
    EXPECT_THAT(answer->purge_sample(), ElementsAre(free));
    EXPECT_THAT(answer->left(), ElementsAre(absl::StrCat(used, ": the adapter ", used.substr(5),
                                                         " is used by ", trained_further->name())));
  }
  EXPECT_TRUE(absl::IsNotFound(store().GetAdapter(free.substr(5)).status()));
  EXPECT_OK(store().GetAdapter(used.substr(5)));
  ASSERT_THAT(told_, SizeIs(1));
  EXPECT_EQ(told_[0].adapter, free.substr(5));
  // Without its adapter it may go.
  purge.delete_adapters = false;
  EXPECT_EQ(Purge(purge)->purge_count(), 1);
  EXPECT_OK(store().GetAdapter(used.substr(5)));
}

TEST_P(DeletionTest, ARepeatedPurgeIsAnsweredAlikeAndDeletesNothingMore) {
  Cancelled();
  const auto first = Purge(PurgeOf("done = true", true, "r1"));
  ASSERT_OK(first);
  const std::string later = Cancelled();
  EXPECT_EQ(Purge(PurgeOf("done = true", true, "r1"))->SerializeAsString(),
            first->SerializeAsString());
  EXPECT_THAT(Jobs(), ElementsAre(later));
  JobPurge other = PurgeOf("done = true", true, "r1");
  other.request.body_sha256 = "another body";
  EXPECT_EQ(ReasonOf(Purge(other).status()), kReasonRequestIdReused);
}

TEST_P(DeletionTest, APurgeThatWasBrokenOffGoesOnAndCountsAll) {
  constexpr int kJobs = 130;
  for (int i = 0; i < kJobs; ++i) Cancelled();
  break_off_at_ = 30;
  EXPECT_TRUE(absl::IsCancelled(Purge(PurgeOf("done = true", true, "r1")).status()));
  const size_t left = store().ListJobs({.page_size = 1000})->items.size();
  EXPECT_GT(left, 0u);
  EXPECT_EQ(left + told_.size(), size_t{kJobs});
  break_off_at_ = 1'000'000;
  const auto rest = Purge(PurgeOf("done = true", true, "r1"));
  ASSERT_OK(rest);
  EXPECT_EQ(rest->purge_count(), kJobs);
  EXPECT_THAT(rest->purge_sample(), SizeIs(100));
  EXPECT_THAT(Jobs(), IsEmpty());
  EXPECT_THAT(told_, SizeIs(kJobs));
}

// Others write between the steps of a long purge.
TEST_P(DeletionTest, APurgeOfManyJobsIsManySmallTransactions) {
  constexpr int kJobs = 100;
  for (int i = 0; i < kJobs; ++i) Cancelled();
  size_t most = 0;
  const auto purged =
      store().PurgeJobs(PurgeOf("done = true", true), [&](const std::vector<DeletedJob>& deleted) {
        most = std::max(most, deleted.size());
        return absl::OkStatus();
      });
  EXPECT_EQ(purged->purge_count(), kJobs);
  EXPECT_LE(most, 20u);
}

class RetentionTest : public DeletionTest {
 protected:
  RetentionTest() {
    fixture_.options().job_lifetime = absl::Hours(24);
    fixture_.Reopen();
    if (GetParam() == StoreKind::kMemory) StoreFixture::Fill(store());
  }
  std::vector<std::string> Prune() {
    std::vector<std::string> names;
    const auto deleted = store().PruneJobs();
    EXPECT_OK(deleted);
    for (const DeletedJob& each : *deleted) names.push_back(each.job);
    return names;
  }
};
INSTANTIATE_ON_EVERY_STORE(RetentionTest);

TEST_P(RetentionTest, JobsThatEndedLongAgoAreDeletedAndTheirAdaptersStay) {
  const std::string first = Succeeded();
  const std::string queued = fixture_.Submit().name();
  fixture_.clock().Advance(absl::Hours(1));
  const std::string second = Cancelled();
  fixture_.clock().Advance(absl::Hours(23));
  EXPECT_THAT(Prune(), IsEmpty()) << "not before its time is over";
  fixture_.clock().Advance(absl::Seconds(1));
  EXPECT_THAT(Prune(), ElementsAre(first));
  EXPECT_THAT(Jobs(), ElementsAre(second, queued));
  EXPECT_OK(store().GetAdapter(first.substr(5)));
  fixture_.clock().Advance(absl::Hours(100));
  EXPECT_THAT(Prune(), ElementsAre(second));
  EXPECT_THAT(Jobs(), ElementsAre(queued)) << "one that is not done has no age";
}

TEST_P(RetentionTest, NoDateMakesAJobOld) {
  Cancelled();
  fixture_.clock().MoveWallClock(absl::Hours(24 * 365));
  EXPECT_THAT(Prune(), IsEmpty());
  fixture_.clock().MoveWallClock(absl::Hours(-24 * 700));
  fixture_.clock().Advance(absl::Hours(25));
  EXPECT_THAT(Prune(), SizeIs(1));
}

TEST_P(RetentionTest, AJobWithAPinnedCheckpointStaysUntilThatIsLetGo) {
  const LeaseRef lease = fixture_.Start(kWorker);
  ASSERT_OK(store().CommitCheckpoint(lease, {10, {StoreFixture::File("state", '4')}}));
  ASSERT_OK(store().PinCheckpoint(lease.job + "/checkpoints/10", true));
  ASSERT_OK(store().CancelJob(lease.job, {}));
  ASSERT_OK(store().FinishAttempt(lease, 0, AttemptCancelled()));
  fixture_.clock().Advance(absl::Hours(25));
  EXPECT_THAT(Prune(), IsEmpty());
  ASSERT_OK(store().PinCheckpoint(lease.job + "/checkpoints/10", false));
  EXPECT_THAT(Prune(), ElementsAre(lease.job));
}

TEST_P(RetentionTest, AJobWhoseRetryIsUnderWayStaysUntilThatIsDone) {
  const std::string failed = Cancelled();
  const std::string other = Cancelled();
  const auto retry = store().RetryJob(failed, false, {});
  ASSERT_OK(retry);
  fixture_.clock().Advance(absl::Hours(25));
  EXPECT_THAT(Prune(), ElementsAre(other));
  ASSERT_OK(store().CancelJob(retry->name(), {}));
  EXPECT_THAT(Prune(), ElementsAre(failed));
  EXPECT_THAT(Prune(), IsEmpty()) << "the retry has just ended";
}

TEST_P(RetentionTest, ManyOldJobsGoSomeAtATime) {
  constexpr size_t kJobs = 50;
  for (size_t i = 0; i < kJobs; ++i) Cancelled();
  fixture_.clock().Advance(absl::Hours(25));
  size_t gone = 0;
  while (const size_t some = Prune().size()) {
    EXPECT_LE(some, 20u);
    gone += some;
  }
  EXPECT_EQ(gone, kJobs);
}

TEST_P(DeletionTest, WithoutALifetimeJobsStay) {
  const std::string job = Cancelled();
  fixture_.clock().Advance(absl::Hours(24 * 365 * 100));
  EXPECT_THAT(*store().PruneJobs(), IsEmpty());
  EXPECT_THAT(Jobs(), ElementsAre(job));
}

}  // namespace
}  // namespace graft
