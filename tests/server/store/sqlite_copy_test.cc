// Copies of a store: what one holds, and what it may grant when it is a store again.

#include "server/store/sqlite_copy.h"

#include <sys/stat.h>

#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

bool GoOnCopying(int64_t, int64_t) { return true; }

class NamesTest : public StoreTest {};
INSTANTIATE_ON_EVERY_STORE(NamesTest);

TEST_P(NamesTest, ABlobIsNamedWithItsLengthAndByWhom) {
  ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter("a")));
  const LeaseRef lease = fixture_.Start(kWorker);
  NewCheckpoint checkpoint;
  checkpoint.step = 3;
  checkpoint.files = {StoreFixture::File("trainer_state.json", '9')};
  ASSERT_OK(store().CommitCheckpoint(lease, checkpoint));
  std::vector<std::string> named;
  const std::vector<NamedBlob> blobs = *store().NamedBlobs();
  for (const NamedBlob& blob : blobs) {
    named.push_back(absl::StrCat(blob.sha256.substr(0, 1), " ", blob.size_bytes));
  }
  EXPECT_THAT(named, ElementsAre("1 100", "9 100", "b 0", "c 0", "e 100"));
  const auto namers = [&](char digit) { return *store().NamersOf(std::string(64, digit)); };
  EXPECT_THAT(namers('1'), ElementsAre("model gpt2: config.json"));
  EXPECT_THAT(namers('9'), ElementsAre("jobs/j1/checkpoints/3: trainer_state.json"));
  EXPECT_THAT(namers('b'), ElementsAre("data set train"));
  EXPECT_THAT(namers('e'), ElementsAre("adapter a: adapter_model.safetensors"));
  EXPECT_THAT(namers('0'), IsEmpty());
}

TEST_P(NamesTest, AWholeStoreHasNoDamage) { EXPECT_THAT(*store().FindDamage(), IsEmpty()); }

TEST(MemoryCopyTest, IsRefused) {
  StoreFixture fixture(StoreKind::kMemory);
  EXPECT_TRUE(absl::IsFailedPrecondition(
      fixture.store().CopyTo(JoinPath(fixture.root(), "copy"), GoOnCopying)));
}

class SqliteCopyTest : public ::testing::Test {
 protected:
  std::string Path() const { return JoinPath(fixture_.root(), "copy"); }
  std::unique_ptr<JobStore> OpenTheCopy() {
    auto store = OpenJobStore("sqlite:" + Path(), fixture_.options());
    EXPECT_OK(store);
    return *std::move(store);
  }

  StoreFixture fixture_{StoreKind::kSqlite, FastDirectory()};
};

TEST_F(SqliteCopyTest, HoldsOneMomentWhateverIsWrittenMeanwhile) {
  const v1::Job before = fixture_.Submit();
  std::string meanwhile;
  ASSERT_OK(fixture_.store().CopyTo(Path(), [&](int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    if (meanwhile.empty()) meanwhile = fixture_.Submit().name();
    return true;
  }));
  ASSERT_NE(meanwhile, "");
  struct stat file;
  ASSERT_EQ(::stat(Path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600U);
  EXPECT_THAT(*ListDirectory(fixture_.root()), ::testing::Not(::testing::Contains("copy-wal")));
  const auto copy = ReadStoreCopy(Path());
  ASSERT_OK(copy);
  EXPECT_EQ(copy->id, fixture_.store().Id());
  EXPECT_EQ(copy->jobs, 1);
  EXPECT_EQ(copy->blobs.size(), 3U);
  const auto store = OpenTheCopy();
  EXPECT_OK(store->GetJob(before.name()));
  EXPECT_TRUE(absl::IsNotFound(store->GetJob(meanwhile).status()));
  EXPECT_OK(fixture_.store().GetJob(meanwhile));
}

TEST_F(SqliteCopyTest, CanBeEndedAndWritesOverNothing) {
  EXPECT_TRUE(
      absl::IsCancelled(fixture_.store().CopyTo(Path(), [](int64_t, int64_t) { return false; })));
  EXPECT_TRUE(absl::IsAlreadyExists(fixture_.store().CopyTo(Path(), GoOnCopying)));
  EXPECT_OK(fixture_.store().FindDamage()) << "its snapshot has ended";
}

TEST_F(SqliteCopyTest, DamageAndStrangersAreNoticed) {
  ASSERT_OK(fixture_.store().CopyTo(Path(), GoOnCopying));
  std::string bytes = *ReadFile(Path(), 1 << 24);
  // A page of the middle is that of another file.
  const size_t page = bytes.size() / 4096 / 2 * 4096;
  bytes.replace(page, 4096, std::string(4096, '\x5a'));
  ASSERT_OK(WriteFileAtomically(Path(), bytes));
  EXPECT_TRUE(absl::IsDataLoss(ReadStoreCopy(Path()).status()));
  ASSERT_OK(WriteFileAtomically(Path(), "no database at all, but long enough to be one"));
  EXPECT_TRUE(absl::IsDataLoss(ReadStoreCopy(Path()).status())) << ReadStoreCopy(Path()).status();
}

// A job that was running at the time of the copy went on to a second lease of the same worker. In
// the copy, too, it comes to its second lease: under that number the first life's reports would
// pass.
TEST_F(SqliteCopyTest, NoLeaseOfTheTimeAfterTheCopyIsEverCurrentAgain) {
  const LeaseRef then = fixture_.Start(kWorker);
  ASSERT_OK(fixture_.store().CopyTo(Path(), GoOnCopying));
  fixture_.clock().Advance(absl::Minutes(2));
  ASSERT_OK(fixture_.store().ExpireLeases());
  fixture_.clock().Advance(absl::Hours(1));
  const auto after = fixture_.ClaimNext(kWorker);
  ASSERT_OK(after);
  const LeaseRef lost = fixture_.LeaseOf(*after, kWorker);

  ASSERT_OK(BeginNewLeaseEpochs(Path()));
  const auto store = OpenTheCopy();
  NewCheckpoint checkpoint;
  checkpoint.step = 100;
  checkpoint.files = {StoreFixture::File("trainer_state.json", '9')};
  const auto is_stale = [&](const LeaseRef& lease) {
    return ReasonOf(store->CommitCheckpoint(lease, checkpoint)) == kReasonStaleLease;
  };
  EXPECT_TRUE(is_stale(then)) << "its worker has dropped events that the copy has not";
  EXPECT_TRUE(is_stale(lost));
  // The lease that the copy knows ends as after a restart, and the job is queued again.
  ASSERT_OK(store->ExpireLeases());
  fixture_.clock().Advance(absl::Minutes(2));
  EXPECT_THAT(*store->ExpireLeases(), ElementsAre(then.job));
  fixture_.clock().Advance(absl::Hours(1));
  const auto queued = *store->QueuedJobs(1);
  ASSERT_EQ(queued.size(), 1U);
  const auto claim = store->ClaimJob({queued[0].name, queued[0].version, kWorker, ""});
  ASSERT_OK(claim);
  EXPECT_TRUE(is_stale(lost));
  EXPECT_TRUE(is_stale(then));
  EXPECT_OK(store->CommitCheckpoint({claim->job.name(), claim->lease_epoch, kWorker}, checkpoint));
}

TEST_F(SqliteCopyTest, TwoStoresOfOneCopyGrantOtherLeases) {
  const LeaseRef lease = fixture_.Start(kWorker);
  const auto epoch_of_copy = [&](const std::string& name) {
    const std::string path = JoinPath(fixture_.root(), name);
    EXPECT_OK(fixture_.store().CopyTo(path, GoOnCopying));
    EXPECT_OK(BeginNewLeaseEpochs(path));
    const auto store = OpenJobStore("sqlite:" + path, fixture_.options());
    return (*(*store)->HeldJobs())[0].lease_epoch;
  };
  const int64_t one = epoch_of_copy("one");
  const int64_t other = epoch_of_copy("other");
  EXPECT_NE(one, other);
  EXPECT_GT(one, lease.lease_epoch);
}

}  // namespace
}  // namespace graft
