// A server that is killed, or loses power, while it brings the store of an earlier build up to its
// own schema: the next one does the rest, and the store is what it would have been.

#include <signal.h>
#include <spawn.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_replace.h"
#include "server/store/schema.h"
#include "tests/fakes/power_loss.h"
#include "tests/server/store/store_contents.h"

namespace graft {
namespace {

constexpr uint64_t kSeeds = 1;  // Of each power loss.

// How far a child has come, in memory that outlives it: the begins and ends of its statements.
struct Passed {
  std::atomic<int> moments;
  int kill_at;
};
Passed& ThePassed() {
  static auto* const passed = static_cast<Passed*>(
      ::mmap(nullptr, sizeof(Passed), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return *passed;
}

int PassMoment(unsigned, void*, void*, void*) {
  if (++ThePassed().moments == ThePassed().kill_at) ::raise(SIGKILL);
  return 0;
}
int TraceConnection(sqlite3* database, char**, const sqlite3_api_routines*) {
  return sqlite3_trace_v2(database, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, PassMoment, nullptr);
}

// The folders of tests/archive; "": a store that is new.
std::vector<std::string> Archives() {
  std::vector<std::string> archives = {""};
  for (const auto& each : std::filesystem::directory_iterator(GRAFT_SOURCE_DIR "/tests/archive")) {
    if (each.is_directory()) archives.push_back(each.path().filename().string());
  }
  return archives;
}

class InterruptedMigrationTest : public ::testing::TestWithParam<std::string> {
 protected:
  InterruptedMigrationTest() {
    EXPECT_OK(CreateDirectories(Earlier()));
    if (GetParam().empty()) return;
    std::vector<std::string> arguments = {
        "tar",
        "-xJf",
        absl::StrCat(GRAFT_SOURCE_DIR "/tests/archive/", GetParam(), "/service.tar.xz"),
        "-C",
        Earlier(),
        "--strip-components=1",
        "--wildcards",
        "data/graft.db*"};
    std::vector<char*> pointers;
    for (std::string& each : arguments) pointers.push_back(each.data());
    pointers.push_back(nullptr);
    pid_t child = 0;
    EXPECT_EQ(::posix_spawnp(&child, "tar", nullptr, nullptr, pointers.data(), environ), 0);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }

  std::string Earlier() const { return JoinPath(fixture_.root(), "earlier"); }
  std::string Fresh() const { return JoinPath(fixture_.root(), "fresh"); }
  static std::string StoreIn(const std::string& directory) {
    return JoinPath(directory, "graft.db");
  }
  // A copy of the earlier store. Its log of changes that are not in the file yet comes with it.
  void CopyEarlierTo(const std::string& directory) {
    ASSERT_OK(CreateDirectories(directory));
    for (const auto& each : std::filesystem::directory_iterator(Earlier())) {
      const auto bytes = ReadFile(each.path().string(), 100 << 20);
      ASSERT_OK(bytes);
      ASSERT_OK(WriteFileAtomically(JoinPath(directory, each.path().filename().string()), *bytes));
    }
  }
  void MakeFresh() {
    ASSERT_OK(RemoveTree(Fresh()));
    CopyEarlierTo(Fresh());
  }

  // A child opens the store and is killed at that moment; 0: at none. Returns how it ended.
  int OpenAndDie(int kill_at) const {
    ThePassed().moments = 0;
    ThePassed().kill_at = kill_at;
    const pid_t child = ::fork();
    if (child == 0) {
      sqlite3_auto_extension(reinterpret_cast<void (*)()>(TraceConnection));
      ::_exit(OpenJobStore("sqlite:" + StoreIn(Fresh()), {}).ok() ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
  }

  // Schema, version and rows, but for what each open and each new store has of its own.
  static std::vector<std::string> ContentsOf(const std::string& directory) {
    const ContentsReader reader(StoreIn(directory));
    std::vector<std::string> contents = reader.Rows("PRAGMA user_version");
    const auto add = [&](const std::string& query) {
      for (std::string& row : reader.Rows(query)) contents.push_back(std::move(row));
    };
    add("PRAGMA application_id");
    add("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name");
    for (const std::string& table :
         reader.Rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")) {
      add(table == "store_state"      ? "SELECT commits FROM store_state"
          : table == "store_identity" ? "SELECT one, running_time_ns FROM store_identity"
                                      : "SELECT * FROM " + table);
    }
    return contents;
  }
  // Opens the store, as the next server does.
  void ExpectGoesOnTo(const std::vector<std::string>& undisturbed, const std::string& directory) {
    const auto store = OpenJobStore("sqlite:" + StoreIn(directory), {});
    ASSERT_OK(store);
    EXPECT_THAT(*(*store)->FindDamage(), ::testing::IsEmpty());
    ASSERT_EQ(ContentsOf(directory), undisturbed);
  }

  StoreFixture fixture_{StoreKind::kMemory, FastDirectory()};  // Its directory.
};

TEST_P(InterruptedMigrationTest, AKillBeforeOrAfterAnyStatementCostsNothing) {
  MakeFresh();
  ASSERT_EQ(OpenAndDie(0), 0);
  const int moments = ThePassed().moments;
  const std::vector<std::string> undisturbed = ContentsOf(Fresh());
  ASSERT_EQ(undisturbed[0], absl::StrCat(SchemaSteps().size()));
  for (int moment = 1; moment <= moments; ++moment) {
    SCOPED_TRACE(absl::StrCat("killed at moment ", moment, " of ", moments));
    MakeFresh();
    const int status = OpenAndDie(moment);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    ExpectGoesOnTo(undisturbed, Fresh());
    if (HasFatalFailure() || HasNonfatalFailure()) return;
  }
  RecordProperty("kills", moments);
  std::cout << moments << " kills\n";
}

TEST_P(InterruptedMigrationTest, APowerLossAtAnyPositionCostsNothing) {
  ASSERT_OK(CreateDirectories(Fresh()));
  DiskLog log(Fresh());
  CopyEarlierTo(Fresh());
  const size_t copied = log.size();
  ASSERT_OK(OpenJobStore("sqlite:" + StoreIn(Fresh()), {}));
  log.Stop();
  const std::vector<std::string> undisturbed = ContentsOf(Fresh());
  const std::string left = JoinPath(fixture_.root(), "left");
  int losses = 0;
  for (PowerLoss loss(log);; loss.Advance()) {
    for (uint64_t seed = 1; loss.position() >= copied && seed <= kSeeds; ++seed, ++losses) {
      SCOPED_TRACE(absl::StrCat("after ", loss.position(), " changes of the disk, seed ", seed));
      loss.Leave(left, seed);
      ExpectGoesOnTo(undisturbed, left);
      if (HasFatalFailure() || HasNonfatalFailure()) return;
      ASSERT_OK(RemoveTree(left));
    }
    if (loss.position() == log.changes().size()) break;
  }
  RecordProperty("losses", losses);
  std::cout << losses << " power losses\n";
}

INSTANTIATE_TEST_SUITE_P(
    Archives, InterruptedMigrationTest, ::testing::ValuesIn(Archives()), [](const auto& info) {
      return info.param.empty() ? "New" : absl::StrReplaceAll(info.param, {{"-", "_"}});
    });

}  // namespace
}  // namespace graft
