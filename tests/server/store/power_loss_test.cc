// What a power loss leaves of a SQLite store, after any of the writes and syncs that a long history
// makes: what was answered, all or nothing of what was not, and never a lease epoch twice.

#include <cstdlib>

#include "common/base/mutex.h"
#include "server/store/sqlite_backend.h"
#include "tests/fakes/power_loss.h"
#include "tests/server/store/scripted_history.h"
#include "tests/server/store/store_contents.h"

namespace graft {
namespace {

// The power losses that are tried, each with as many seeds. "all": every one, with four.
constexpr size_t kPowerLosses = 400;
constexpr char kHowMany[] = "GRAFT_POWER_LOSSES";

constexpr char kGaps[] =
    "SELECT id FROM jobs JOIN events ON events.job = number GROUP BY number "
    "HAVING COUNT(*) <> MAX(sequence) OR MAX(sequence) <> last_sequence";

class PowerLossTest : public ::testing::Test {
 protected:
  PowerLossTest() {
    EXPECT_OK(CreateDirectories(Root()));
    options_.clock = &clock_;
    options_.new_job_id = [this] { return absl::StrCat("j", ++ids_); };
    options_.mark_ends = true;
    options_.job_lifetime = absl::Hours(24 * 45);
    options_.on_commit = [this](absl::Duration, int) { NoteCommit(); };
  }

  std::string Root() const { return JoinPath(fixture_.root(), "recorded"); }
  static std::string PathIn(const std::string& directory) {
    return JoinPath(directory, "graft.db");
  }

  // On the store's writer thread, before anybody has an answer.
  void NoteCommit() {
    MutexLock lock(mutex_);
    if (!reader_) reader_.emplace(PathIn(Root()));
    commits_.push_back({log_->size(), reader_->Read()});
    EXPECT_EQ(commits_.back().contents.commits, static_cast<int64_t>(commits_.size()));
  }
  // An answer has been given; what it tells of is in the last commit at the latest once the thread
  // that writes has come to what was asked of it afterwards.
  void NoteAnswer(JobStore& store) {
    const size_t position = log_->size();
    EXPECT_OK(store.Ping());
    MutexLock lock(mutex_);
    answers_.push_back({position, commits_.size()});
  }

  void Record(int rounds) {
    log_.emplace(Root());
    auto store = OpenJobStore("sqlite:" + PathIn(Root()), options_);
    ASSERT_OK(store);
    StoreFixture::Fill(**store);
    ScriptedHistory history(
        **store, clock_, [&] { NoteAnswer(**store); },
        [this](const LeaseRef& lease) {
          grants_.push_back({log_->size(), lease});
        });
    history.Run(rounds);
    calls_ = history.calls();
    store->reset();
    log_->Stop();
    MutexLock lock(mutex_);
    reader_.reset();
  }

  // Opens what is left of the store after the power loss at `position`.
  void Check(const std::string& directory, size_t position) {
    StoreOptions options = options_;
    options.on_commit = nullptr;
    auto store = OpenJobStore("sqlite:" + PathIn(directory), options);
    ASSERT_OK(store);
    EXPECT_THAT(*(*store)->FindDamage(), ::testing::IsEmpty());
    const ContentsReader reader(PathIn(directory));
    CheckContents(reader.Read(), position);
    EXPECT_THAT(reader.Rows(kGaps), ::testing::IsEmpty());
    CheckNextLease(**store, position);
  }
  void CheckContents(const StoreContents& contents, size_t position) {
    int64_t answered = 0;
    for (const Answer& each : answers_) {
      if (each.position <= position) answered = static_cast<int64_t>(each.commits);
    }
    int64_t begun = 1;
    for (const Commit& each : commits_) begun += each.position <= position ? 1 : 0;
    EXPECT_GE(contents.commits, answered) << "what was answered is not there";
    ASSERT_LE(contents.commits, begun);
    // Before the first it may not even have its identity.
    if (contents.commits == 0) return;
    ASSERT_LE(contents.commits, static_cast<int64_t>(commits_.size()));
    EXPECT_EQ(contents.sha256, commits_[contents.commits - 1].contents.sha256)
        << "not what it was after a commit";
  }
  void CheckNextLease(JobStore& store, size_t position) {
    const auto queue = store.QueuedJobs(1);
    ASSERT_OK(queue);
    if (queue->empty()) return;
    const auto claim = store.ClaimJob({(*queue)[0].name, (*queue)[0].version, kOtherWorker, ""});
    ASSERT_OK(claim);
    for (const Grant& each : grants_) {
      if (each.position > position || each.lease.job != (*queue)[0].name) continue;
      EXPECT_GT(claim->lease_epoch, each.lease.lease_epoch) << each.lease.job;
    }
  }

  struct Commit {
    size_t position;  // In the log.
    StoreContents contents;
  };
  struct Answer {
    size_t position;
    size_t commits;  // It is in the last of so many.
  };
  struct Grant {
    size_t position;
    LeaseRef lease;
  };

  StoreFixture fixture_{StoreKind::kMemory, FastDirectory()};  // Its directory.
  FakeClock clock_;
  StoreOptions options_;
  int ids_ = 0;  // The writer thread's.
  std::optional<DiskLog> log_;
  int calls_ = 0;
  std::vector<Answer> answers_;
  std::vector<Grant> grants_;
  Mutex mutex_;
  std::optional<ContentsReader> reader_ ABSL_GUARDED_BY(mutex_);
  std::vector<Commit> commits_;
};

TEST_F(PowerLossTest, LeavesWhatWasAnsweredAndAllOrNothingOfTheRest) {
  Record(/*rounds=*/6);
  ASSERT_GE(calls_, 500);
  const char* const how_many = std::getenv(kHowMany);
  const bool all = how_many != nullptr && std::string(how_many) == "all";
  const size_t stride = all ? 1 : log_->changes().size() / kPowerLosses;
  const uint64_t seeds = all ? 4 : 1;
  PowerLoss loss(*log_);
  const std::string left = JoinPath(fixture_.root(), "left");
  int losses = 0;
  for (;; loss.Advance()) {
    for (uint64_t seed = 1; loss.position() % stride == 0 && seed <= seeds; ++seed, ++losses) {
      SCOPED_TRACE(absl::StrCat("after ", loss.position(), " changes of the disk, seed ", seed));
      loss.Leave(left, seed);
      Check(left, loss.position());
      if (HasFatalFailure() || HasNonfatalFailure()) return;
      ASSERT_OK(RemoveTree(left));
    }
    if (loss.position() == log_->changes().size()) break;
  }
  RecordProperty("losses", losses);
  std::cout << losses << " power losses in " << log_->changes().size() << " changes of the disk, "
            << calls_ << " calls, " << commits_.size() << " commits\n";
}

}  // namespace
}  // namespace graft
