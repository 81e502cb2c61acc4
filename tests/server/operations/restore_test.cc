#include "server/operations/restore.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "common/base/process_lock.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "server/catalogue/upload_room.h"
#include "server/operations/backup.h"
#include "server/operations/data_directory.h"
#include "server/operations/store_check.h"
#include "tests/server/operations/data_fixture.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// A backup of two data sets and a log.
class RestoreTest : public ::testing::Test {
 protected:
  RestoreTest() {
    blob_ = server_.Name("articles", "the rows");
    server_.Name("more", std::string(3 << 20, 'm'));
    EXPECT_TRUE(server_.logs().Append({"k3f9", 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "words").ok());
    const auto made = BackUp(server_.store(), server_.blobs(),
                             {from(), server_.artifacts(), server_.uri()}, GoOn);
    EXPECT_TRUE(made.ok()) << made.status();
  }
  ~RestoreTest() override { SetDiskSpaceForTest(nullptr); }

  absl::Status Make(const OperationProgress& progress = GoOn) {
    return Restore(from(), data(), progress).status();
  }
  // Nothing was restored, and nothing is left of the try.
  void ExpectNothing() {
    EXPECT_FALSE(DirectoryExists(data())) << ::testing::PrintToString(*ListDirectory(data()));
  }
  std::string from() const { return directory_.Path("backup"); }
  std::string data() const { return directory_.Path("new"); }

  const TempDir directory_;
  DataFixture server_{directory_.Path("data")};
  std::string blob_;
};

TEST_F(RestoreTest, AServerHasAllAgainAndOwnsItsBytes) {
  const auto restored = Restore(from(), data(), GoOn);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->store_id, server_.store().Id());
  EXPECT_THAT(*ListDirectory(data()), ElementsAre("artifacts", "graft.db", "server.lock"));
  DataFixture again(data());
  EXPECT_EQ(again.store().Id(), server_.store().Id());
  EXPECT_TRUE(again.store().GetDataset("articles").ok());
  const auto report = CheckStore(again.store(), again.blobs(), {}, GoOn);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->problems(), IsEmpty());
  EXPECT_EQ(report->named_blobs(), 2);
  EXPECT_EQ(*ReadFile(JoinPath(again.artifacts(), "logs/k3f9/1/engine.000000000000"), 100),
            "words");
  struct stat file;
  ASSERT_EQ(::stat(again.PathOf(blob_).c_str(), &file), 0);
  EXPECT_EQ(file.st_nlink, 1);
  EXPECT_EQ(file.st_mode & 0777, 0444U);
}

TEST_F(RestoreTest, OneFlippedBitOfAnyFileIsNoticed) {
  std::vector<std::string> files = {"BACKUP", "SHA256SUMS"};
  const BackupManifest manifest = *ReadBackupManifest(from());
  for (const BackupFile& file : manifest.files) files.push_back(file.path);
  ASSERT_EQ(files.size(), 7U);
  for (const std::string& file : files) {
    FlipBit(JoinPath(from(), file));
    const absl::Status refused = Make();
    EXPECT_TRUE(absl::IsDataLoss(refused)) << file << ": " << refused;
    ExpectNothing();
    FlipBit(JoinPath(from(), file));
  }
  EXPECT_TRUE(Make().ok());
}

TEST_F(RestoreTest, AFileThatIsMissingIsNamed) {
  ASSERT_TRUE(RemoveFile(JoinPath(from(), BackupPathOfBlob(blob_))).ok());
  const absl::Status refused = Make();
  EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr(blob_));
  ExpectNothing();
}

TEST_F(RestoreTest, ALineThatIsMissingIsNoticed) {
  const std::string path = JoinPath(from(), "SHA256SUMS");
  std::string sums = *ReadFile(path, 1 << 20);
  sums.erase(0, sums.find('\n') + 1);
  ASSERT_TRUE(WriteFileAtomically(path, sums).ok());
  EXPECT_TRUE(absl::IsDataLoss(Make()));
  ExpectNothing();
}

TEST_F(RestoreTest, AHalfBackupIsNone) {
  for (const char* file : {"BACKUP", "SHA256SUMS"}) {
    ASSERT_TRUE(RemoveFile(JoinPath(from(), file)).ok());
    EXPECT_FALSE(Make().ok());
    ExpectNothing();
    if (std::string(file) == "SHA256SUMS") break;
    EXPECT_THAT(std::string(Make().message()), HasSubstr("no whole backup"));
  }
  EXPECT_TRUE(absl::IsNotFound(Restore(directory_.Path("nowhere"), data(), GoOn).status()));
}

TEST_F(RestoreTest, APathThatLeadsElsewhereIsNotFollowed) {
  const std::string path = JoinPath(from(), "SHA256SUMS");
  const std::string sums = *ReadFile(path, 1 << 20);
  for (const char* name : {"../secret", "/etc/passwd", "artifacts/../../secret", "a//b", ""}) {
    ASSERT_TRUE(
        WriteFileAtomically(path, absl::StrCat(sums, Sha256Hex("x"), "  ", name, "\n")).ok());
    EXPECT_TRUE(absl::IsDataLoss(Make())) << name;
  }
  ASSERT_TRUE(WriteFileAtomically(path, sums).ok());
  // A file of the backup that is a link to the same bytes.
  const std::string blob = JoinPath(from(), BackupPathOfBlob(blob_));
  ASSERT_TRUE(RemoveFile(blob).ok());
  ASSERT_EQ(::symlink(server_.PathOf(blob_).c_str(), blob.c_str()), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(Make())) << Make();
  ExpectNothing();
}

TEST_F(RestoreTest, ADirectoryInUseIsRefused) {
  ASSERT_TRUE(CreateDirectories(data()).ok());
  const auto lock = ProcessLock::Acquire(JoinPath(data(), kServerLockName), data(), "graft-server");
  const absl::Status refused = Make();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(absl::StrCat("process ", ::getpid())));
  EXPECT_THAT(*ListDirectory(data()), ElementsAre("server.lock"));
}

TEST_F(RestoreTest, ADirectoryThatHoldsSomethingIsLeftAsItIs) {
  ASSERT_TRUE(CreateDirectories(data()).ok());
  ASSERT_TRUE(WriteFileAtomically(JoinPath(data(), "mine"), "x").ok());
  const absl::Status refused = Make();
  EXPECT_EQ(refused.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("mine"));
  EXPECT_THAT(*ListDirectory(data()), ElementsAre("mine"));
  // That of another server, too.
  EXPECT_EQ(Restore(from(), server_.data(), GoOn).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(RestoreTest, OneThatIsEndedLeavesNothingAndOneThatWasKilledIsMadeAgain) {
  EXPECT_TRUE(absl::IsCancelled(Make([](const admin::v1::Progress&) { return false; })));
  ExpectNothing();
  // What a kill leaves: before the end, and between its last two steps.
  ASSERT_TRUE(CreateDirectories(JoinPath(data(), "restore.partial/artifacts")).ok());
  ASSERT_TRUE(WriteFileAtomically(JoinPath(data(), "restore.partial/graft.db"), "half").ok());
  ASSERT_TRUE(CreateDirectories(JoinPath(data(), "artifacts/blobs")).ok());
  ASSERT_TRUE(WriteFileAtomically(JoinPath(data(), "artifacts/half"), "half").ok());
  EXPECT_TRUE(Make().ok()) << Make();
  EXPECT_THAT(*ListDirectory(data()), ElementsAre("artifacts", "graft.db", "server.lock"));
  EXPECT_FALSE(FileExists(JoinPath(data(), "artifacts/half")));
}

TEST_F(RestoreTest, AFullDiskIsToldBeforeAnythingIsWritten) {
  SetDiskSpaceForTest([](const std::string&) { return DiskSpace{1000, 1'000'000}; });
  const absl::Status refused = Make();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), AllOf(HasSubstr("1.0 kB are free"), HasSubstr("MB")));
  ExpectNothing();
}

TEST_F(RestoreTest, WhatWasLostBeforeIsNoDamage) {
  ASSERT_TRUE(RemoveFile(server_.PathOf(blob_)).ok());
  const std::string later = directory_.Path("later");
  ASSERT_TRUE(
      BackUp(server_.store(), server_.blobs(), {later, server_.artifacts(), server_.uri()}, GoOn)
          .ok());
  const auto restored = Restore(later, data(), GoOn);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_THAT(restored->missing_blobs, ElementsAre(blob_));
  DataFixture again(data());
  EXPECT_EQ(CheckStore(again.store(), again.blobs(), {}, GoOn)->problem_count(), 1);
}

}  // namespace
}  // namespace graft
