#include "client/file_transfer.h"

#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

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
  ASSERT_TRUE(SendFolder(root_ + "/from", *names, [&](const v1::FileChunk& chunk) {
                return writer->Write(chunk).ok();
              }).ok());
  EXPECT_FALSE(DirectoryExists(root_ + "/to"));
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_EQ(ReadFile(root_ + "/to/a.bin", 1 << 30).value(), large);
  EXPECT_EQ(ReadFile(root_ + "/to/empty", 10).value(), "");
  EXPECT_EQ(ReadFile(root_ + "/to/lora/b.json", 10).value(), "{}");
}

TEST_F(FileTransferTest, ABrokenDownloadLeavesNothing) {
  {
    auto writer = FolderWriter::Create(root_ + "/to");
    v1::FileChunk chunk;
    chunk.set_path("a");
    chunk.set_size_bytes(10);
    chunk.set_data("short");
    ASSERT_TRUE(writer->Write(chunk).ok());
    EXPECT_EQ(writer->Commit().code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_THAT(*ListDirectory(root_), ElementsAre("from"));
}

TEST_F(FileTransferTest, UnsafeNamesAreRefused) {
  auto writer = FolderWriter::Create(root_ + "/to");
  for (const char* name : {"../up", "/etc/passwd", "a//b", ".hidden", "a/../b"}) {
    v1::FileChunk chunk;
    chunk.set_path(name);
    EXPECT_EQ(writer->Write(chunk).code(), absl::StatusCode::kDataLoss) << name;
  }
}

TEST_F(FileTransferTest, AnExistingFolderIsNotTouched) {
  EXPECT_EQ(FolderWriter::Create(root_ + "/from").status().code(),
            absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace graft
