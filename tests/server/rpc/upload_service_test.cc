#include "server/rpc/upload_service.h"

#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class UploadServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<int64_t> Query(const std::string& sha256, int64_t size_bytes) {
    v1::QueryUploadRequest request;
    request.set_sha256(sha256);
    request.set_size_bytes(size_bytes);
    v1::QueryUploadResponse response;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(stub_->QueryUpload(context.get(), request, &response));
    if (!status.ok()) return status;
    return response.received_bytes();
  }
  int64_t Query(const std::string& text) {
    return Query(Sha256Hex(text), static_cast<int64_t>(text.size())).value_or(-1);
  }
  static v1::UploadDatasetRequest::Metadata Announced(const std::string& text, int64_t offset) {
    v1::UploadDatasetRequest::Metadata metadata;
    metadata.set_sha256(Sha256Hex(text));
    metadata.set_size_bytes(static_cast<int64_t>(text.size()));
    metadata.set_offset_bytes(offset);
    return metadata;
  }

  TestServer server_;
  const std::unique_ptr<v1::UploadService::Stub> stub_ =
      v1::UploadService::NewStub(server_.channel());
  const std::string rows_ = NewsRows(30);
};

TEST_F(UploadServiceTest, ADataSetWhoseStreamBrokeGoesOn) {
  // To the server a stream that ends too early may be one that broke.
  const absl::Status early =
      server_.Upload("more", rows_.substr(0, 100), Announced(rows_, 0)).status();
  EXPECT_EQ(early.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(early.message()), HasSubstr("100 bytes instead of"));
  EXPECT_EQ(Query(rows_), 100);
  const auto uploaded = server_.Upload("more", rows_.substr(100), Announced(rows_, 100));
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_EQ(uploaded->sha256(), Sha256Hex(rows_));
  EXPECT_EQ(uploaded->num_rows(), 30);
  // Under another name nothing has to be sent.
  const auto size = static_cast<int64_t>(rows_.size());
  EXPECT_EQ(Query(rows_), size);
  EXPECT_EQ(server_.Upload("again", "", Announced(rows_, size))->num_rows(), 30);
}

TEST_F(UploadServiceTest, WhatCannotBeIsRefusedByField) {
  EXPECT_EQ(FieldViolationsOf(Query("none", 3).status()).at(0).field(), "sha256");
  EXPECT_EQ(FieldViolationsOf(Query(Sha256Hex(""), -1).status()).at(0).field(), "size_bytes");
  EXPECT_EQ(*Query(Sha256Hex("unknown"), 7), 0);
  v1::UploadDatasetRequest::Metadata metadata = Announced(rows_, 3);
  const auto refused = [&] {
    return FieldViolationsOf(server_.Upload("bad", rows_, metadata).status()).at(0);
  };
  metadata.set_sha256("");
  EXPECT_THAT(refused().description(), HasSubstr("needs the file's sha256"));
  metadata = Announced(rows_, static_cast<int64_t>(rows_.size()) + 1);
  EXPECT_EQ(refused().field(), "metadata.offset_bytes");
  metadata = Announced(rows_, -1);
  EXPECT_EQ(refused().field(), "metadata.offset_bytes");
  metadata = Announced(rows_, 3);
  EXPECT_EQ(server_.Upload("bad", rows_.substr(3), metadata).status().code(),
            absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace graft
