#include "server/operations/backup.h"

#include <sys/stat.h>

#include <vector>

#include "gmock/gmock.h"
#include "server/catalogue/upload_room.h"
#include "server/operations/backup_manifest.h"
#include "server/operations/blob_collection.h"
#include "server/store/sqlite_copy.h"
#include "tests/server/operations/data_fixture.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class BackupTest : public ::testing::Test {
 protected:
  ~BackupTest() override { SetDiskSpaceForTest(nullptr); }

  absl::StatusOr<admin::v1::BackUpReport> Make(const OperationProgress& progress = GoOn) {
    return BackUp(server_.store(), server_.blobs(), {to(), server_.artifacts(), server_.uri()},
                  progress);
  }
  std::string to() const { return directory_.Path("backup"); }
  std::string In(const std::string& relative) const { return JoinPath(to(), relative); }

  const TempDir directory_;
  DataFixture server_{directory_.Path("data")};
};

TEST_F(BackupTest, HoldsTheStoreWhatItNamesAndTheLogs) {
  const std::string blob = server_.Name("articles", "the rows");
  ASSERT_TRUE(server_.blobs().Put("named by nothing").ok());
  ASSERT_TRUE(
      server_.logs().Append({"k3f9", 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "its last words").ok());
  const auto report = Make();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->blobs(), 1);
  EXPECT_EQ(report->blob_bytes(), 8);
  EXPECT_EQ(report->log_files(), 1);
  EXPECT_EQ(*ReadFile(In(BackupPathOfBlob(blob)), 100), "the rows");
  EXPECT_EQ(*ReadFile(In("artifacts/logs/k3f9/1/engine.000000000000"), 100), "its last words");
  EXPECT_EQ(ReadArtifactsOwner(In("artifacts"))->id, server_.store().Id());
  const auto copy = ReadStoreCopy(In("graft.db"));
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ(copy->id, server_.store().Id());
  EXPECT_THAT(copy->blobs, SizeIs(1));
  const BackupManifest manifest = *ReadBackupManifest(to());
  EXPECT_EQ(manifest.store_id, server_.store().Id());
  EXPECT_THAT(manifest.files, SizeIs(4));
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("backup", "data"));
}

TEST_F(BackupTest, ABlobOfTheSameFileSystemIsALink) {
  const std::string blob = server_.Name("articles", "the rows");
  EXPECT_EQ(Make()->copied_bytes(), 0);
  struct stat kept;
  ASSERT_EQ(::stat(In(BackupPathOfBlob(blob)).c_str(), &kept), 0);
  EXPECT_EQ(kept.st_nlink, 2);
}

TEST_F(BackupTest, WhatIsDeletedMeanwhileIsInIt) {
  const std::string blob = server_.Name("articles", "the rows");
  bool deleted = false;
  const auto report = Make([&](const admin::v1::Progress& progress) {
    if (progress.what() != "store" || deleted) return true;
    deleted = true;
    EXPECT_TRUE(server_.store().DeleteDataset("articles").ok());
    // Noted, and old enough at the next look.
    EXPECT_EQ(*DeleteReleased(server_.store(), server_.blobs(), absl::Minutes(5)), 0);
    server_.clock().Advance(absl::Hours(1));
    EXPECT_EQ(*DeleteReleased(server_.store(), server_.blobs(), absl::Minutes(5)), 0);
    return true;
  });
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_TRUE(deleted);
  EXPECT_THAT(report->missing(), SizeIs(0));
  EXPECT_TRUE(FileExists(In(BackupPathOfBlob(blob))));
  // The hold is over with the backup.
  EXPECT_EQ(*DeleteReleased(server_.store(), server_.blobs(), absl::Minutes(5)), 1);
}

TEST_F(BackupTest, WhatTheServerHasLostIsToldAndTheRestIsThere) {
  const std::string lost = server_.Name("lost", "gone");
  const std::string rotten = server_.Name("rotten", "these bytes rot");
  const std::string whole = server_.Name("whole", "fine");
  ASSERT_TRUE(RemoveFile(server_.PathOf(lost)).ok());
  FlipBit(server_.PathOf(rotten));
  const auto report = Make();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->missing(), ::testing::UnorderedElementsAre(
                                     AllOf(HasSubstr("data set lost"), HasSubstr(lost)),
                                     AllOf(HasSubstr("data set rotten"), HasSubstr(rotten))));
  EXPECT_THAT(ReadBackupManifest(to())->missing_blobs,
              ::testing::UnorderedElementsAre(lost, rotten));
  EXPECT_TRUE(FileExists(In(BackupPathOfBlob(whole))));
  EXPECT_FALSE(FileExists(In(BackupPathOfBlob(rotten))));
}

TEST_F(BackupTest, ADirectoryThatHoldsSomethingIsLeftAsItIs) {
  ASSERT_TRUE(CreateDirectories(to()).ok());
  ASSERT_TRUE(WriteFileAtomically(In("mine"), "x").ok());
  const auto report = Make();
  EXPECT_EQ(report.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(report.status().message()), HasSubstr("mine"));
  EXPECT_THAT(*ListDirectory(to()), ElementsAre("mine"));
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("backup", "data"));
}

TEST_F(BackupTest, AnEmptyDirectoryIsTaken) {
  ASSERT_TRUE(CreateDirectories(to()).ok());
  EXPECT_TRUE(Make().ok());
}

TEST_F(BackupTest, OneThatIsEndedLeavesNothing) {
  server_.Name("articles", "the rows");
  for (const char* part : {"store", "blobs"}) {
    const auto report =
        Make([&](const admin::v1::Progress& progress) { return progress.what() != part; });
    EXPECT_TRUE(absl::IsCancelled(report.status())) << report.status();
    EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("data"));
  }
  EXPECT_FALSE(server_.blobs().deletions_held());
}

TEST_F(BackupTest, AFullDiskIsToldBeforeAnythingIsWritten) {
  server_.Name("articles", std::string(5000, 'x'));
  SetDiskSpaceForTest([](const std::string&) { return DiskSpace{1000, 1'000'000}; });
  const auto report = Make();
  EXPECT_TRUE(absl::IsResourceExhausted(report.status())) << report.status();
  EXPECT_THAT(std::string(report.status().message()), HasSubstr("1.0 kB are free"));
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("data"));
}

TEST_F(BackupTest, TwoInARowShareTheirBlobs) {
  const std::string blob = server_.Name("articles", "the rows");
  ASSERT_TRUE(Make().ok());
  const BackupPlan next = {directory_.Path("next"), server_.artifacts(), server_.uri()};
  ASSERT_TRUE(BackUp(server_.store(), server_.blobs(), next, GoOn).ok());
  struct stat kept;
  ASSERT_EQ(::stat(In(BackupPathOfBlob(blob)).c_str(), &kept), 0);
  EXPECT_EQ(kept.st_nlink, 3);
}

}  // namespace
}  // namespace graft
