// Blobs between workers and the server.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/worker_service_fixture.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class WorkerBlobsTest : public WorkerServiceFixture {};

TEST_F(WorkerBlobsTest, BlobsComeAndGoByTheirHash) {
  const v1::Artifact blob = worker_.UploadBlob("x", std::string(300'000, 'b'));
  worker::v1::HasBlobsRequest has;
  has.add_sha256(blob.sha256());
  has.add_sha256(Sha256Hex("unknown"));
  worker::v1::HasBlobsResponse missing;
  const auto has_context = CallContext();
  ASSERT_TRUE(worker_.stub().HasBlobs(has_context.get(), has, &missing).ok());
  ASSERT_EQ(missing.missing_size(), 1);
  EXPECT_EQ(missing.missing(0), Sha256Hex("unknown"));

  worker::v1::FetchBlobRequest fetch;
  fetch.set_sha256(blob.sha256());
  fetch.set_offset_bytes(299'990);
  const auto context = CallContext();
  const auto reader = worker_.stub().FetchBlob(context.get(), fetch);
  worker::v1::BlobChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_EQ(chunk.size_bytes(), 300'000);
  EXPECT_EQ(chunk.data(), "bbbbbbbbbb");
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(WorkerBlobsTest, ABlobThatRottedIsMissingUntilItIsUploadedAgain) {
  const v1::Artifact blob = worker_.UploadBlob("x", "truth");
  const std::string path = *server_.blobs().PathOf(blob.sha256());
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  const UniqueFd fd = *OpenFile(path, O_RDWR);
  ASSERT_EQ(::pwrite(fd.get(), "T", 1, 0), 1);
  const auto fetched = [&] {
    worker::v1::FetchBlobRequest fetch;
    fetch.set_sha256(blob.sha256());
    const auto context = CallContext();
    const auto reader = worker_.stub().FetchBlob(context.get(), fetch);
    worker::v1::BlobChunk chunk;
    while (reader->Read(&chunk)) EXPECT_EQ(chunk.data(), "truth");
    return FromGrpcStatus(reader->Finish());
  };
  const absl::Status refused = fetched();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(blob.sha256()));
  worker::v1::HasBlobsRequest has;
  has.add_sha256(blob.sha256());
  worker::v1::HasBlobsResponse missing;
  const auto context = CallContext();
  ASSERT_TRUE(worker_.stub().HasBlobs(context.get(), has, &missing).ok());
  EXPECT_EQ(missing.missing_size(), 1);
  worker_.UploadBlob("x", "truth");
  EXPECT_TRUE(fetched().ok());
}

TEST_F(WorkerBlobsTest, BytesThatAreNotWhatTheirHashSaysAreRefused) {
  v1::Artifact lie;
  lie.set_sha256(Sha256Hex("truth"));
  lie.set_size_bytes(5);
  EXPECT_EQ(worker_.UploadBlobAs(lie, "false").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(worker_.UploadBlobAs(lie, "much longer").code(), absl::StatusCode::kInvalidArgument);
  lie.set_sha256("../../../escaped");
  EXPECT_EQ(worker_.UploadBlobAs(lie, "truth").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server_.blobs().Stat(Sha256Hex("truth")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace graft
