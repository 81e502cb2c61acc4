#include "worker/agent/input_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"
#include "tests/worker/agent/fake_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class InputCacheTest : public ::testing::Test {
 protected:
  InputCacheTest() {
    file_.set_path("news.jsonl");
    file_.set_sha256(Sha256Hex(kBytes));
    file_.set_size_bytes(5);
  }
  ~InputCacheTest() override { server_.Stop(); }

  std::string Use() {
    const absl::StatusOr<std::string> path = inputs_.File(file_, stop_);
    return path.ok() ? *ReadFile(*path, 100) : path.status().ToString();
  }
  // Below the cache, or a server's blob directory.
  std::string BlobIn(const std::string& directory) {
    return JoinPath(JoinPath(directory, file_.sha256().substr(0, 2)), file_.sha256());
  }
  static void FlipBit(const std::string& path, int bit) {
    const UniqueFd fd = *OpenFile(path, O_RDWR);
    char byte = 0;
    ASSERT_EQ(::pread(fd.get(), &byte, 1, bit / 8), 1);
    byte = static_cast<char>(byte ^ (1 << bit % 8));
    ASSERT_EQ(::pwrite(fd.get(), &byte, 1, bit / 8), 1);
  }

  static constexpr char kBytes[] = "hello";
  const TempDir directory_;
  FakeServer server_{directory_.Path("server.sock")};
  ServerLink link_{grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()), {}};
  InputCache inputs_{directory_.Path("cache"), link_};
  StopSignal stop_;
  v1::Artifact file_;
};

TEST_F(InputCacheTest, ACopyThatIsCorruptIsFetchedAgain) {
  server_.AddBlob(kBytes);
  ASSERT_EQ(Use(), kBytes);
  for (int bit = 0; bit < 40; ++bit) {
    FlipBit(BlobIn(directory_.Path("cache/blobs")), bit);
    EXPECT_EQ(Use(), kBytes) << bit;
  }
}

TEST_F(InputCacheTest, ACopyThatIsCorruptIsNotUsedWhereTheServerHasNoneEither) {
  server_.AddBlob(kBytes);
  ASSERT_EQ(Use(), kBytes);
  FlipBit(BlobIn(directory_.Path("cache/blobs")), 0);
  server_.RemoveBlob(file_.sha256());
  EXPECT_THAT(Use(), HasSubstr("NOT_FOUND"));
  EXPECT_FALSE(FileExists(BlobIn(directory_.Path("cache/blobs"))));
}

TEST_F(InputCacheTest, ABlobOfTheServersIsHashedBeforeItIsUsedInPlace) {
  const std::string blobs = directory_.Path("objects");
  ASSERT_TRUE(CreateDirectories(DirectoryOf(BlobIn(blobs))).ok());
  ASSERT_TRUE(WriteFileAtomically(BlobIn(blobs), kBytes).ok());
  inputs_.UseServerBlobs(blobs);
  ASSERT_EQ(Use(), kBytes);
  EXPECT_FALSE(FileExists(BlobIn(directory_.Path("cache/blobs")))) << "used in place";
  FlipBit(BlobIn(blobs), 12);
  server_.CorruptBlob(file_.sha256());
  EXPECT_THAT(Use(), HasSubstr("DATA_LOSS: blob is corrupt"));
  // The server has mended it, or what was wrong is this machine's view of it.
  server_.AddBlob(kBytes);
  EXPECT_EQ(Use(), kBytes);
}

// Else the server would drop a sound checkpoint, or fail the job for good.
TEST_F(InputCacheTest, ADiskThatCannotWriteIsNotCalledACorruptBlob) {
  server_.AddBlob(kBytes);
  static const FileSystemCalls kBroken = {::pread,
                                          [](int, const void*, size_t) -> ssize_t {
                                            errno = EIO;
                                            return -1;
                                          },
                                          ::fsync, ::rename};
  SetFileSystemCallsForTest(&kBroken);
  const std::string said = Use();
  SetFileSystemCallsForTest(nullptr);
  EXPECT_THAT(said, HasSubstr("ABORTED"));
}

TEST_F(InputCacheTest, ACopyThatVanishesIsFetchedAgain) {
  server_.AddBlob(kBytes);
  ASSERT_EQ(Use(), kBytes);
  ASSERT_TRUE(RemoveFile(BlobIn(directory_.Path("cache/blobs"))).ok());
  EXPECT_EQ(Use(), kBytes);
}

}  // namespace
}  // namespace graft
