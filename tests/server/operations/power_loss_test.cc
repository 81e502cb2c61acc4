// What a power loss leaves of a backup and of a restoration, after any change of the disk that they
// make: either is whole, or is known not to be and can be made again.

#include <fcntl.h>

#include <functional>
#include <iostream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "server/operations/backup.h"
#include "server/operations/backup_manifest.h"
#include "server/operations/data_directory.h"
#include "server/operations/partial_directory.h"
#include "server/operations/restore.h"
#include "server/operations/store_check.h"
#include "tests/fakes/power_loss.h"
#include "tests/server/operations/data_fixture.h"

namespace graft {
namespace {

constexpr uint64_t kSeeds = 16;

class OperationPowerLossTest : public ::testing::Test {
 protected:
  // Records what changes there.
  std::string Record() {
    std::string root = directory_.Path("recorded");
    EXPECT_TRUE(CreateDirectories(root).ok());
    log_.emplace(root);
    return root;
  }
  std::string Left(const std::string& name) const {
    return JoinPath(directory_.Path("left"), name);
  }

  // A server's data and a backup of it below `root`. Returns how much was recorded before that.
  size_t MakeBackup(const std::string& root) {
    DataFixture server(JoinPath(root, "data"));
    server.Name("articles", std::string(3000, 'a'));
    server.Name("more", "other rows");
    EXPECT_TRUE(server.logs().Append({"k3f9", 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "words").ok());
    const size_t begin = log_ ? log_->size() : 0;
    const auto made = BackUp(server.store(), server.blobs(),
                             {JoinPath(root, "backup"), server.artifacts(), server.uri()}, GoOn);
    EXPECT_TRUE(made.ok()) << made.status();
    if (log_) log_->Stop();
    return begin;
  }
  // That a server with this data has all.
  static void ExpectWhole(const std::string& data) {
    DataFixture server(data);
    EXPECT_TRUE(server.store().GetDataset("articles").ok());
    admin::v1::CheckRequest every_byte;
    every_byte.set_read(true);
    const auto report = CheckStore(server.store(), server.blobs(), every_byte, GoOn);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->problems().empty()) << report->DebugString();
    EXPECT_EQ(report->named_blobs(), 2);
    const auto words =
        ReadFile(JoinPath(server.artifacts(), "logs/k3f9/1/engine.000000000000"), 100);
    EXPECT_EQ(words.value_or(""), "words");
  }
  // From `begin` on. `check` is told whether there was an answer: after the last change.
  void TryEachPowerLoss(size_t begin, const std::function<void(bool answered)>& check) {
    PowerLoss loss(*log_);
    for (;; loss.Advance()) {
      const bool answered = loss.position() == log_->changes().size();
      for (uint64_t seed = 1; loss.position() >= begin && seed <= kSeeds; ++seed) {
        SCOPED_TRACE(absl::StrCat("after ", loss.position(), " changes of the disk, seed ", seed));
        loss.Leave(directory_.Path("left"), seed);
        check(answered);
        if (HasFatalFailure() || HasNonfatalFailure()) return;
        ASSERT_TRUE(RemoveTree(directory_.Path("left")).ok());
      }
      if (answered) break;
    }
    std::cout << kSeeds * (loss.position() + 1 - begin) << " power losses in "
              << loss.position() - begin << " changes of the disk\n";
    EXPECT_GE(loss.position() - begin, 30u);
  }

  const TempDir directory_{FastDirectory()};  // What syncs promise is computed.
  std::optional<DiskLog> log_;
};

TEST_F(OperationPowerLossTest, ABackupIsWholeOrIsNone) {
  const size_t begin = MakeBackup(Record());
  TryEachPowerLoss(begin, [&](bool answered) {
    const std::string backup = Left("backup");
    const auto manifest = ReadBackupManifest(backup);
    if (!manifest.ok()) {
      ASSERT_FALSE(answered) << manifest.status();
      EXPECT_TRUE(absl::IsNotFound(manifest.status())) << manifest.status();
      // The next one may have its place.
      const auto place = PartialDirectory::Create(backup);
      EXPECT_TRUE(place.ok()) << place.status();
      return;
    }
    const std::string data = Left("restored");
    const auto restored = Restore(backup, data, GoOn);
    ASSERT_TRUE(restored.ok()) << restored.status();
    ExpectWhole(data);
  });
}

TEST_F(OperationPowerLossTest, WhatAnEndedOneLeftIsKnownHoweverOftenItsRemovalEndsToo) {
  const std::string root = Record();
  const std::string partial = JoinPath(root, "backup.partial");
  ASSERT_TRUE(CreateDirectories(JoinPath(partial, "blobs")).ok());
  for (const char* name : {kBackupStore, "graft.db-journal", "SHA256SUMS", "a", "z"}) {
    ASSERT_TRUE(WriteFileAtomically(JoinPath(partial, name), "x").ok());
  }
  for (int blob = 0; blob < 30; ++blob) {
    const std::string name = absl::StrCat("blobs/", blob);
    ASSERT_TRUE(WriteFileAtomically(JoinPath(partial, name), "x").ok());
  }
  ASSERT_TRUE(SyncDirectory(partial).ok());
  ASSERT_TRUE(SyncDirectory(root).ok());
  const size_t begin = log_->size();
  {
    const auto taken = PartialDirectory::Create(JoinPath(root, "backup"));
    ASSERT_TRUE(taken.ok()) << taken.status();
    // As it begins its own copy: the destructor removes that.
    for (const char* name : {kBackupStore, "graft.db-journal"}) {
      const std::string path = JoinPath(taken->path(), name);
      ASSERT_TRUE(OpenFile(path, O_RDWR | O_CREAT | O_EXCL).ok());
      ASSERT_TRUE(SyncDirectory(taken->path()).ok());
    }
  }
  log_->Stop();
  TryEachPowerLoss(begin, [&](bool) {
    const auto place = PartialDirectory::Create(Left("backup"));
    EXPECT_TRUE(place.ok()) << place.status();
  });
}

TEST_F(OperationPowerLossTest, ARestorationIsWholeOrCanBeMadeAgain) {
  MakeBackup(directory_.path());
  const std::string backup = directory_.Path("backup");
  const auto restored = Restore(backup, JoinPath(Record(), "data"), GoOn);
  log_->Stop();
  ASSERT_TRUE(restored.ok()) << restored.status();
  TryEachPowerLoss(0, [&](bool answered) {
    const std::string data = Left("data");
    if (!FileExists(JoinPath(data, kStoreFileName))) {
      ASSERT_FALSE(answered);
      const auto again = Restore(backup, data, GoOn);
      ASSERT_TRUE(again.ok()) << again.status();
    }
    ExpectWhole(data);
  });
}

}  // namespace
}  // namespace graft
