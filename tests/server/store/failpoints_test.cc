// A server that is killed before or after the commit of any verb of its store: the store is what it
// was after its last commit, which is none before the last answer.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "absl/strings/strip.h"
#include "common/base/failpoint.h"
#include "common/base/mapped_file.h"
#include "tests/server/store/scripted_history.h"
#include "tests/server/store/store_contents.h"

namespace graft {
namespace {

constexpr int kRounds = 3;  // Of the history: jobs are deleted for their age in the last.
constexpr int kMostCommits = 1000;

// What a child has done, in memory that outlives it.
struct Done {
  std::atomic<int> commits;
  std::atomic<int> answered;  // It was in one of so many commits.
  char sha256[kMostCommits][65];
};

// Verbs that write nothing, and helpers over others.
const std::set<std::string>& Readers() {
  static const auto* const readers = new std::set<std::string>{
      "CheckJob",        "FindInserted",  "GetJobWithNeeds", "ListJobs",
      "ListCheckpoints", "ListArtifacts", "ReadCheckpoint",  "ReadEvents",
      "WaitForEvents",   "Subscribe",     "QueuedJobs",      "NextRetry",
      "ReadQueue",       "ListLeases",    "HeldJobs",        "NextDeadline",
      "NextExpiry",      "GetDataset",    "ListDatasets",    "GetModel",
      "ListModels",      "GetAdapter",    "ListAdapters",    "IsBlobReferenced",
      "ReleasedBlobs",   "MarkedEnds",    "Counts",          "Id",
      "RunningTime",     "UnnamedBlobs",  "NamedBlobs",      "NamersOf",
      "FindDamage",      "CopyTo",        "CheckStudy",      "FindInsertedStudy",
      "GetStudy",        "ListStudies",   "OpenStudies",     "ReadStudyEvents"};
  return *readers;
}

class StoreFailpointsTest : public ::testing::Test {
 protected:
  StoreFailpointsTest()
      : done_(static_cast<Done*>(::mmap(nullptr, sizeof(Done), PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~StoreFailpointsTest() override { ::munmap(done_, sizeof(Done)); }

  std::string Path() const { return JoinPath(fixture_.root(), "killed.db"); }

  // The child: the history with failpoints.
  [[noreturn]] void Live(const std::string& failpoints) {
    FakeClock clock;
    int ids = 0;
    std::optional<ContentsReader> reader;
    StoreOptions options = {.clock = &clock};
    options.new_job_id = [&] { return absl::StrCat("j", ++ids); };
    options.mark_ends = true;
    options.job_lifetime = absl::Hours(24 * 45);
    options.on_commit = [&](absl::Duration, int) {
      if (!reader) reader.emplace(Path());
      std::strncpy(done_->sha256[done_->commits], reader->Read().sha256.c_str(), 64);
      ++done_->commits;
    };
    auto store = OpenJobStore("sqlite:" + Path(), options);
    if (!store.ok()) ::_exit(1);
    StoreFixture::Fill(**store);
    if (!ArmFailpoints(failpoints).ok()) ::_exit(2);
    ScriptedHistory history(
        **store, clock, [&] { done_->answered = done_->commits.load(); }, [](const LeaseRef&) {});
    history.Run(kRounds);
    ::_exit(::testing::Test::HasFailure() ? 3 : 0);
  }
  // How the child ended. Its standard error goes into the file, if one is named.
  int LiveAndDie(const std::string& failpoints, const std::string& said = "") {
    std::memset(static_cast<void*>(done_), 0, sizeof(Done));
    for (const char* each : {"", "-wal", "-shm", ".lock", ".reserve"}) {
      RemoveFile(Path() + each).IgnoreError();
    }
    const pid_t child = ::fork();
    if (child == 0) {
      const int file = said.empty() ? -1 : ::open(said.c_str(), O_WRONLY | O_CREAT, 0600);
      if (file >= 0) ::dup2(file, STDERR_FILENO);
      Live(failpoints);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }
  // The failpoints that the history passes, and how often.
  std::map<std::string, int> Names() {
    const std::string said = JoinPath(fixture_.root(), "names");
    EXPECT_EQ(LiveAndDie("*=name", said), 0);
    std::map<std::string, int> names;
    std::ifstream lines(said);
    for (std::string line; std::getline(lines, line);) {
      absl::string_view name = line;
      if (absl::ConsumePrefix(&name, "failpoint ")) ++names[std::string(name)];
    }
    return names;
  }
  void ExpectWholeStore() {
    auto store = OpenJobStore("sqlite:" + Path(), {});
    ASSERT_OK(store);
    EXPECT_THAT(*(*store)->FindDamage(), ::testing::IsEmpty());
    const StoreContents contents = ContentsReader(Path()).Read();
    EXPECT_GE(contents.commits, done_->answered);
    // Another thread's commit may have come between.
    ASSERT_LE(contents.commits, done_->commits + 1);
    if (contents.commits <= done_->commits) {
      EXPECT_EQ(contents.sha256, done_->sha256[contents.commits - 1]);
    }
  }

  StoreFixture fixture_{StoreKind::kMemory, FastDirectory()};  // Its directory.
  Done* const done_;
};

TEST_F(StoreFailpointsTest, AKillAtAnyOfThemLeavesTheLastCommit) {
  const std::map<std::string, int> names = Names();
  int kills = 0;
  for (const auto& [name, times] : names) {
    if (!absl::StartsWith(name, "store.") || name == "store.checkpoint.after") continue;
    const std::string entry = absl::StrCat(name, "=kill@", times / 2 + 1);
    SCOPED_TRACE(entry);
    const int status = LiveAndDie(entry);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    ExpectWholeStore();
    if (HasFatalFailure()) return;
    ++kills;
  }
  EXPECT_GE(kills, 70);
  RecordProperty("kills", kills);
}

TEST_F(StoreFailpointsTest, EveryVerbThatWritesHasThem) {
  std::set<std::string> verbs;
  for (const char* header : {"job_store.h", "store_operations.h", "study_store.h"}) {
    std::ifstream file(absl::StrCat(GRAFT_SOURCE_DIR, "/server/store/", header));
    std::stringstream text;
    text << file.rdbuf();
    const std::string declarations = text.str();
    const std::regex verb(R"(  virtual [^(;]*?\b(\w+)\()");
    for (std::sregex_iterator each(declarations.begin(), declarations.end(), verb), end;
         each != end; ++each) {
      if (Readers().count((*each)[1]) == 0) verbs.insert((*each)[1]);
    }
  }
  for (const char* destructor : {"StoreOperations", "StudyStore"}) verbs.erase(destructor);
  EXPECT_GE(verbs.size(), 35u);
  const std::map<std::string, int> names = Names();
  for (const std::string& verb : verbs) {
    for (const char* moment : {"before_commit", "after_commit"}) {
      EXPECT_EQ(names.count(absl::StrCat("store.", verb, ".", moment)), 1u)
          << verb << ": the scripted history does not call it, or it has no failpoint";
    }
  }
}

}  // namespace
}  // namespace graft
