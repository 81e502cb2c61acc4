#include "common/blobs/publish.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ViewPublisherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    blobs_ = *FileBlobStore::Open(dir_.Path("blobs"));
    publisher_.emplace(*ViewPublisher::Open(dir_.Path("adapters"), *blobs_));
  }
  ManifestFile File(const std::string& path, const std::string& bytes) {
    const absl::StatusOr<BlobInfo> blob = blobs_->Put(bytes);
    EXPECT_TRUE(blob.ok());
    return {path, blob->size_bytes, blob->sha256};
  }
  std::string Read(absl::string_view path) {
    const absl::StatusOr<std::string> content =
        ReadFile(JoinPath(dir_.Path("adapters"), path), 1000);
    return content.ok() ? *content : std::string(content.status().message());
  }
  std::vector<std::string> Names() { return *ListDirectory(dir_.Path("adapters")); }

  TempDir dir_;
  std::unique_ptr<FileBlobStore> blobs_;
  std::optional<ViewPublisher> publisher_;
};

TEST_F(ViewPublisherTest, PublishedFilesAreReadByName) {
  const std::vector<ManifestFile> files = {File("graft.json", "{}"), File("lora/README.md", "# r")};
  EXPECT_FALSE(publisher_->IsWhole("u1", "news", files));
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  EXPECT_TRUE(publisher_->IsWhole("u1", "news", files));
  EXPECT_EQ(Read("news/graft.json"), "{}");
  EXPECT_EQ(Read("news/lora/README.md"), "# r");
  EXPECT_THAT(Names(), ElementsAre(".by-uid", "news"));
  struct stat view;
  ASSERT_EQ(::stat(dir_.Path("adapters/news/graft.json").c_str(), &view), 0);
  EXPECT_EQ(view.st_nlink, 2u);  // no second copy on the disk
}

TEST_F(ViewPublisherTest, APreparedViewIsShownByItsNameOnlyOncePublished) {
  const std::vector<ManifestFile> files = {File("graft.json", "{}")};
  ASSERT_TRUE(publisher_->Prepare("uid1", files).ok());
  EXPECT_TRUE(FileExists(JoinPath(publisher_->PathOf("uid1"), "graft.json")));
  EXPECT_FALSE(publisher_->IsWhole("uid1", "news", files));
  ASSERT_TRUE(publisher_->Publish("uid1", "news", files).ok());
  EXPECT_TRUE(publisher_->IsWhole("uid1", "news", files));
  ASSERT_TRUE(publisher_->Prepare("uid2", files).ok());
  ASSERT_TRUE(publisher_->RemoveUnnamed().ok());
  EXPECT_TRUE(publisher_->IsWhole("uid1", "news", files));
  EXPECT_FALSE(FileExists(publisher_->PathOf("uid2")));
}

TEST_F(ViewPublisherTest, MissingBlobPublishesNothing) {
  const std::vector<ManifestFile> files = {File("a", "1"), {"b", 1, Sha256Hex("gone")}};
  const absl::Status status = publisher_->Publish("u1", "news", files);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("news"), HasSubstr("b: "), HasSubstr(Sha256Hex("gone"))));
  EXPECT_THAT(Names(), ElementsAre(".by-uid"));
  EXPECT_THAT(*ListDirectory(dir_.Path("adapters/.by-uid")), IsEmpty());
}

TEST_F(ViewPublisherTest, BlobOfAnotherSizeIsDataLoss) {
  ManifestFile file = File("a", "12");
  file.size_bytes = 3;
  EXPECT_EQ(publisher_->Publish("u1", "news", {file}).code(), absl::StatusCode::kDataLoss);
}

TEST_F(ViewPublisherTest, LostAndBrokenViewsAreBuiltAgain) {
  const std::vector<ManifestFile> files = {File("a", "1"), File("sub/b", "2")};
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  ASSERT_TRUE(RemoveFile(dir_.Path("adapters/news/sub/b")).ok());
  EXPECT_FALSE(publisher_->IsWhole("u1", "news", files));
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  EXPECT_EQ(Read("news/sub/b"), "2");

  ASSERT_TRUE(RemoveTree(publisher_->PathOf("u1")).ok());
  ASSERT_TRUE(RemoveFile(dir_.Path("adapters/news")).ok());
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  EXPECT_TRUE(publisher_->IsWhole("u1", "news", files));
  EXPECT_THAT(*ListDirectory(dir_.Path("adapters/.by-uid")), ElementsAre("u1"));
}

TEST_F(ViewPublisherTest, ReplacedFileIsNotTakenForTheBlob) {
  const std::vector<ManifestFile> files = {File("a", "1")};
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  ASSERT_TRUE(WriteFileAtomically(JoinPath(publisher_->PathOf("u1"), "a"), "other").ok());
  EXPECT_FALSE(publisher_->IsWhole("u1", "news", files));
  ASSERT_TRUE(RemoveFile(JoinPath(publisher_->PathOf("u1"), "a")).ok());
  ASSERT_EQ(::symlink("/etc/hostname", JoinPath(publisher_->PathOf("u1"), "a").c_str()), 0);
  EXPECT_FALSE(publisher_->IsWhole("u1", "news", files));
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  EXPECT_EQ(Read("news/a"), "1");
}

TEST_F(ViewPublisherTest, NameMovesToItsNewView) {
  ASSERT_TRUE(publisher_->Publish("u1", "news", {File("a", "1")}).ok());
  ASSERT_TRUE(publisher_->Publish("u2", "news", {File("a", "2")}).ok());
  EXPECT_EQ(Read("news/a"), "2");
  ASSERT_TRUE(publisher_->Remove("u1", "news").ok());
  EXPECT_EQ(Read("news/a"), "2");
}

TEST_F(ViewPublisherTest, RemovedViewIsGoneAndItsBlobsStay) {
  const ManifestFile file = File("a", "1");
  ASSERT_TRUE(publisher_->Publish("u1", "news", {file}).ok());
  ASSERT_TRUE(publisher_->Remove("u1", "news").ok());
  EXPECT_THAT(Names(), ElementsAre(".by-uid"));
  EXPECT_THAT(*ListDirectory(dir_.Path("adapters/.by-uid")), IsEmpty());
  EXPECT_TRUE(blobs_->Verify(file.sha256).ok());
  EXPECT_TRUE(publisher_->Remove("u1", "news").ok());
}

TEST_F(ViewPublisherTest, WhatOthersPutThereIsNotReplaced) {
  ASSERT_TRUE(CreateDirectories(dir_.Path("adapters/mine")).ok());
  ASSERT_EQ(::symlink("/tmp", dir_.Path("adapters/link").c_str()), 0);
  for (const char* name : {"mine", "link"}) {
    EXPECT_EQ(publisher_->Publish("u1", name, {File("a", "1")}).code(),
              absl::StatusCode::kAlreadyExists);
  }
}

TEST_F(ViewPublisherTest, HostileNamesAreRefused) {
  const ManifestFile file = File("a", "1");
  for (const std::string& bad :
       {std::string(), std::string(".."), std::string("../x"), std::string("a/b"),
        std::string(".by-uid"), std::string("a\nb"), std::string(129, 'a')}) {
    EXPECT_EQ(publisher_->Publish("u1", bad, {file}).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(publisher_->Publish(bad, "n", {file}).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(publisher_->Remove(bad, "n").code(), absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(publisher_->IsWhole("u1", bad, {file}));
    if (bad == "a/b") continue;
    EXPECT_EQ(publisher_->Publish("u1", "n", {{bad, 1, file.sha256}}).code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(ViewPublisherTest, FullDiskKeepsTheOldView) {
  ASSERT_TRUE(publisher_->Publish("u1", "news", {File("a", "1")}).ok());
  const std::vector<ManifestFile> files = {File("a", "2")};
  static const FileSystemCalls kFull = {::pread, ::write, ::fsync, [](const char*, const char*) {
                                          errno = ENOSPC;
                                          return -1;
                                        }};
  SetFileSystemCallsForTest(&kFull);
  EXPECT_EQ(publisher_->Publish("u2", "news", files).code(), absl::StatusCode::kResourceExhausted);
  SetFileSystemCallsForTest(nullptr);
  EXPECT_EQ(Read("news/a"), "1");
  EXPECT_THAT(Names(), ElementsAre(".by-uid", "news"));
  EXPECT_THAT(*ListDirectory(dir_.Path("adapters/.by-uid")), ElementsAre("u1"));
}

TEST_F(ViewPublisherTest, HalfBuiltViewsOfAKilledProcessAreRemoved) {
  ASSERT_TRUE(CreateDirectories(dir_.Path("adapters/.by-uid/.tmp-1-1/sub")).ok());
  ASSERT_EQ(::symlink(".by-uid/u1", dir_.Path("adapters/.tmp-1-2").c_str()), 0);
  publisher_.emplace(*ViewPublisher::Open(dir_.Path("adapters"), *blobs_));
  EXPECT_THAT(Names(), ElementsAre(".by-uid"));
  EXPECT_THAT(*ListDirectory(dir_.Path("adapters/.by-uid")), IsEmpty());
}

int g_view_reads = 0;
constexpr FileSystemCalls kCountingReads = {
    [](int fd, void* buffer, size_t count, off_t offset) -> ssize_t {
      ++g_view_reads;
      return ::pread(fd, buffer, count, offset);
    },
    ::write, ::fsync, ::rename};

TEST_F(ViewPublisherTest, BlobsAreNotReadAgainWhenAViewOfThemGoes) {
  const std::vector<ManifestFile> files = {File("a", "a"), File("lora/b", "b")};
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  SetFileSystemCallsForTest(&kCountingReads);
  const auto reads = [&] {
    g_view_reads = 0;
    for (const ManifestFile& file : files) EXPECT_TRUE(blobs_->Verify(file.sha256).ok());
    return g_view_reads;
  };
  // What is as new as the present is not remembered.
  while (reads() > 0) std::this_thread::yield();
  EXPECT_TRUE(publisher_->Remove("u1", "news").ok());
  EXPECT_EQ(reads(), 0);
  SetFileSystemCallsForTest(nullptr);
}

TEST_F(ViewPublisherTest, AViewOfACorruptBlobIsMadeAgainOnceItIsMended) {
  const std::vector<ManifestFile> files = {File("a", "hello")};
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  const std::string path = dir_.Path("adapters/news/a");
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  const UniqueFd fd = *OpenFile(path, O_RDWR);
  ASSERT_EQ(::pwrite(fd.get(), "J", 1, 0), 1);
  EXPECT_EQ(publisher_->Publish("u2", "other", files).code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(blobs_->Put("hello").ok());
  EXPECT_FALSE(publisher_->IsWhole("u1", "news", files)) << "it shows the old file";
  ASSERT_TRUE(publisher_->Publish("u1", "news", files).ok());
  EXPECT_EQ(Read("news/a"), "hello");
}

}  // namespace
}  // namespace graft
