#include "common/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "common/base/mapped_file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = JoinPath(::testing::TempDir(), "graft-file-XXXXXX");
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
  }
  void TearDown() override {
    SetFileSystemCallsForTest(nullptr);
    SetFailedSyncHandlerForTest(nullptr);
    EXPECT_TRUE(RemoveTree(root_).ok());
  }
  std::string Path(absl::string_view name) const { return JoinPath(root_, name); }
  std::vector<std::string> Names() const { return *ListDirectory(root_); }

  std::string root_;
};

const FileSystemCalls kWorking = {::pread, ::write, ::fsync, ::rename};

TEST_F(FileTest, WrittenFileReadsBackAndIsPrivate) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "hello").ok());
  EXPECT_EQ(*ReadFile(Path("a"), 5), "hello");
  struct stat info;
  ASSERT_EQ(::stat(Path("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600);
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(FileTest, FileOverTheLimitIsRefusedByName) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "123456").ok());
  const absl::Status status = ReadFile(Path("a"), 5).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr(Path("a")));
  EXPECT_EQ(*ReadFile("/proc/self/comm", 100), *ReadFile("/proc/self/comm", 4096));  // st_size 0
}

TEST_F(FileTest, AtomicFileWithoutCommitLeavesTheOldOne) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "old").ok());
  {
    absl::StatusOr<AtomicFile> file = AtomicFile::Create(Path("a"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Append("new").ok());
  }
  EXPECT_EQ(*ReadFile(Path("a"), 100), "old");
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(FileTest, FullDiskIsResourceExhaustedAndLeavesNothing) {
  FileSystemCalls calls = kWorking;
  calls.write = [](int, const void*, size_t) -> ssize_t {
    errno = ENOSPC;
    return -1;
  };
  SetFileSystemCallsForTest(&calls);
  EXPECT_EQ(WriteFileAtomically(Path("a"), "x").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Names(), IsEmpty());
  SetFileSystemCallsForTest(nullptr);
  EXPECT_TRUE(WriteFileAtomically(Path("a"), "x").ok());
}

TEST_F(FileTest, ShortWritesAndReadsAreContinued) {
  FileSystemCalls calls = kWorking;
  calls.write = [](int fd, const void* bytes, size_t count) {
    return ::write(fd, bytes, count > 3 ? 3 : count);
  };
  calls.pread = [](int fd, void* buffer, size_t count, off_t offset) {
    return ::pread(fd, buffer, count > 2 ? 2 : count, offset);
  };
  SetFileSystemCallsForTest(&calls);
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "0123456789").ok());
  EXPECT_EQ(*ReadFile(Path("a"), 100), "0123456789");
}

TEST_F(FileTest, DeviceErrorOnReadIsDataLoss) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "x").ok());
  FileSystemCalls calls = kWorking;
  calls.pread = [](int, void*, size_t, off_t) -> ssize_t {
    errno = EIO;
    return -1;
  };
  SetFileSystemCallsForTest(&calls);
  EXPECT_EQ(ReadFile(Path("a"), 100).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(FileTest, FailedRenameKeepsTheOldFile) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "old").ok());
  FileSystemCalls calls = kWorking;
  calls.rename = [](const char*, const char*) {
    errno = EIO;
    return -1;
  };
  SetFileSystemCallsForTest(&calls);
  EXPECT_EQ(WriteFileAtomically(Path("a"), "new").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(*ReadFile(Path("a"), 100), "old");
  EXPECT_THAT(Names(), ElementsAre("a"));
}

TEST_F(FileTest, FailedSyncEndsTheProcess) {
  FileSystemCalls calls = kWorking;
  calls.fsync = [](int) {
    errno = EIO;
    return -1;
  };
  EXPECT_EXIT(
      {
        SetFileSystemCallsForTest(&calls);
        (void)WriteFileAtomically(Path("a"), "x");
      },
      ::testing::ExitedWithCode(kFailedSyncExitCode), "cannot sync .*a");
  EXPECT_FALSE(FileExists(Path("a")));
}

TEST_F(FileTest, EveryWriteIsSyncedBeforeItsNameAndTheDirectoryAfter) {
  static std::string order;
  order.clear();
  FileSystemCalls calls = kWorking;
  calls.fsync = [](int fd) {
    struct stat info;
    ::fstat(fd, &info);
    order += S_ISDIR(info.st_mode) ? "D" : "F";
    return ::fsync(fd);
  };
  calls.rename = [](const char* from, const char* to) {
    order += "R";
    return ::rename(from, to);
  };
  SetFileSystemCallsForTest(&calls);
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "x").ok());
  EXPECT_EQ(order, "FRD");
}

TEST_F(FileTest, DirectoriesAreMadeSyncedAndRemovedWithoutFollowingLinks) {
  ASSERT_TRUE(CreateDirectories(Path("x/y/z")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("keep"), "k").ok());
  ASSERT_EQ(::symlink(Path("keep").c_str(), Path("x/y/link").c_str()), 0);
  ASSERT_TRUE(RemoveTree(Path("x")).ok());
  EXPECT_THAT(Names(), ElementsAre("keep"));
  EXPECT_TRUE(RemoveTree(Path("x")).ok());
  EXPECT_EQ(CreateDirectories(Path("keep/sub")).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(FileTest, OnlyPlainNamesAreSafe) {
  for (const char* good : {"a", "adapter_model.safetensors", "A-1_b.c"}) {
    EXPECT_TRUE(IsSafeFileName(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("."), std::string(".."), std::string(".hidden"),
        std::string("a/b"), std::string("a\\b"), std::string("a b"), std::string("a\0b", 3),
        std::string("caf\xc3\xa9"), std::string(129, 'a'), std::string("a\n")}) {
    EXPECT_FALSE(IsSafeFileName(bad)) << bad;
  }
  EXPECT_TRUE(IsSafeFileName(std::string(128, 'a')));
}

TEST_F(FileTest, NothingOutsideTheRootOpens) {
  ASSERT_TRUE(CreateDirectories(Path("root/sub")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("secret"), "s").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("root/sub/file"), "f").ok());
  ASSERT_EQ(::symlink("../secret", Path("root/link").c_str()), 0);
  ASSERT_EQ(::symlink("sub", Path("root/inside").c_str()), 0);
  absl::StatusOr<UniqueFd> root = OpenFile(Path("root"), O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(root.ok());
  EXPECT_TRUE(OpenBeneath(root->get(), "sub/file", O_RDONLY).ok());
  EXPECT_TRUE(OpenBeneath(root->get(), "sub/../sub/file", O_RDONLY).ok());
  for (const std::string& bad : {std::string("../secret"), std::string("sub/../../secret"),
                                 Path("secret"), std::string("link"), std::string("inside/file")}) {
    EXPECT_EQ(OpenBeneath(root->get(), bad, O_RDONLY).status().code(),
              absl::StatusCode::kPermissionDenied)
        << bad;
  }
  EXPECT_EQ(OpenBeneath(root->get(), std::string("sub\0x", 5), O_RDONLY).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(FileTest, PathPartsAreThoseOfTheShell) {
  EXPECT_EQ(DirectoryOf("a/b/c"), "a/b");
  EXPECT_EQ(DirectoryOf("c"), ".");
  EXPECT_EQ(DirectoryOf("/c"), "/");
  EXPECT_EQ(DirectoryOf("a/b/"), "a");
  EXPECT_EQ(BaseName("a/b/"), "b");
  EXPECT_EQ(BaseName("c"), "c");
  EXPECT_EQ(JoinPath("/", "c"), "/c");
  EXPECT_EQ(JoinPath("a", "c"), "a/c");
}

TEST_F(FileTest, MappingShowsTheBytes) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "hello").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("empty"), "").ok());
  absl::StatusOr<MappedFile> file = MappedFile::Open(Path("a"));
  ASSERT_TRUE(file.ok());
  const MappedFile moved = *std::move(file);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(moved.bytes().data()), moved.bytes().size()),
            "hello");
  EXPECT_TRUE(MappedFile::Open(Path("empty"))->bytes().empty());
  EXPECT_EQ(MappedFile::Open(root_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::Open(Path("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileTest, HashesAreThoseOfTheStandard) {
  // FIPS 180-4 examples: the empty message, "abc", and a million times "a".
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.Update(std::string(1000, 'a'));
  EXPECT_EQ(hash.Hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  const std::string long_text(3'000'000, 'b');
  ASSERT_TRUE(WriteFileAtomically(Path("a"), long_text).ok());
  EXPECT_EQ(*Sha256HexOfFile(Path("a")), Sha256Hex(long_text));
  EXPECT_TRUE(IsSha256Hex(hash.Hex()));
  EXPECT_FALSE(IsSha256Hex(hash.Hex().substr(1)));
  EXPECT_FALSE(IsSha256Hex(std::string(64, 'A')));
}

}  // namespace
}  // namespace graft
