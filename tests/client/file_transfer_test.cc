#include "client/file_transfer.h"

#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

v1::FileChunk Chunk(const std::string& path, int64_t size_bytes, const std::string& data) {
  v1::FileChunk chunk;
  chunk.set_path(path);
  chunk.set_size_bytes(size_bytes);
  chunk.set_data(data);
  return chunk;
}

class FileTransferTest : public ::testing::Test {
 protected:
  FileTransferTest() : root_(testing::TempDir() + "/transfer_" + std::to_string(getpid())) {
    EXPECT_TRUE(CreateDirectories(root_ + "/from/lora").ok());
  }
  ~FileTransferTest() override { RemoveTree(root_).IgnoreError(); }

  const std::string root_;
};

TEST_F(FileTransferTest, AFolderArrivesAsItWas) {
  const std::string large(kTransferChunkBytes * 2 + 5, 'x');
  ASSERT_TRUE(WriteFileAtomically(root_ + "/from/a.bin", large).ok());
  ASSERT_TRUE(WriteFileAtomically(root_ + "/from/empty", "").ok());
  ASSERT_TRUE(WriteFileAtomically(root_ + "/from/lora/b.json", "{}").ok());
  const auto names = FilesBelow(root_ + "/from");
  ASSERT_TRUE(names.ok());
  EXPECT_THAT(*names, ElementsAre("a.bin", "empty", "lora/b.json"));
  auto writer = FolderWriter::Create(root_ + "/to/");
  ASSERT_TRUE(writer.ok()) << writer.status();
  std::vector<FileToSend> files;
  for (const std::string& name : *names) {
    const std::string path = root_ + "/from/" + name;
    files.push_back({name, path, *FileSize(path)});
  }
  ASSERT_TRUE(
      SendFiles(files, [&](const v1::FileChunk& chunk) { return writer->Write(chunk).ok(); }).ok());
  EXPECT_FALSE(DirectoryExists(root_ + "/to"));
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_EQ(ReadFile(root_ + "/to/a.bin", 1 << 30).value(), large);
  EXPECT_EQ(ReadFile(root_ + "/to/empty", 10).value(), "");
  EXPECT_EQ(ReadFile(root_ + "/to/lora/b.json", 10).value(), "{}");
}

TEST_F(FileTransferTest, ABrokenDownloadLeavesNothing) {
  {
    auto writer = FolderWriter::Create(root_ + "/to");
    EXPECT_THAT(*ListDirectory(root_), ElementsAre("from"));
    ASSERT_TRUE(writer->Write(Chunk("a", 10, "short")).ok());
    EXPECT_EQ(writer->Commit().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_THAT(*ListDirectory(root_), ElementsAre("from"));
}

TEST_F(FileTransferTest, ADownloadOfNothingIsNoFolder) {
  EXPECT_EQ(FolderWriter::Create(root_ + "/to")->Commit().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(*ListDirectory(root_), ElementsAre("from"));
}

TEST_F(FileTransferTest, ADownloadTouchesNoFolderThatIsNotItsOwn) {
  ASSERT_TRUE(CreateDirectories(root_ + "/to.partial").ok());
  ASSERT_TRUE(WriteFileAtomically(root_ + "/to.partial/mine", "x").ok());
  auto writer = FolderWriter::Create(root_ + "/to");
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(writer->Write(Chunk("a", 3, "new")).ok());
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_THAT(*ListDirectory(root_), ElementsAre("from", "to", "to.partial"));
  EXPECT_EQ(ReadFile(root_ + "/to.partial/mine", 10).value(), "x");
}

TEST_F(FileTransferTest, OfTwoDownloadsToOnePlaceTheFirstToEndIsThereWhole) {
  {
    auto first = FolderWriter::Create(root_ + "/to");
    auto second = FolderWriter::Create(root_ + "/to");
    ASSERT_TRUE(first->Write(Chunk("a", 5, "first")).ok());
    ASSERT_TRUE(second->Write(Chunk("b", 6, "second")).ok());
    EXPECT_TRUE(first->Commit().ok());
    EXPECT_EQ(second->Commit().code(), absl::StatusCode::kAlreadyExists);
  }
  EXPECT_THAT(*ListDirectory(root_), ElementsAre("from", "to"));
  EXPECT_THAT(*ListDirectory(root_ + "/to"), ElementsAre("a"));
}

TEST_F(FileTransferTest, UnsafeNamesAreRefused) {
  auto writer = FolderWriter::Create(root_ + "/to");
  for (const char* name : {"../up", "/etc/passwd", "a//b", ".hidden", "a/../b"}) {
    EXPECT_EQ(writer->Write(Chunk(name, 0, "")).code(), absl::StatusCode::kDataLoss) << name;
  }
}

TEST_F(FileTransferTest, AnExistingFolderIsNotTouched) {
  EXPECT_EQ(FolderWriter::Create(root_ + "/from").status().code(),
            absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace graft
