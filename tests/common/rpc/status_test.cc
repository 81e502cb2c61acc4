#include "common/rpc/status.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(RpcStatusTest, CodeMessageAndDetailsSurviveTheWire) {
  google::rpc::BadRequest bad_request;
  bad_request.add_field_violations()->set_field("fine_tune.method.lora.rank");
  bad_request.mutable_field_violations(0)->set_reason("OUT_OF_RANGE");
  absl::Status status = absl::InvalidArgumentError("rank must be 1 or more");
  const std::string url = absl::StrCat(kTypeUrlPrefix, "google.rpc.BadRequest");
  status.SetPayload(url, absl::Cord(bad_request.SerializeAsString()));

  const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));

  EXPECT_EQ(back.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(back.message(), "rank must be 1 or more");
  google::rpc::BadRequest parsed;
  ASSERT_TRUE(back.GetPayload(url).has_value());
  ASSERT_TRUE(parsed.ParseFromString(std::string(*back.GetPayload(url))));
  EXPECT_EQ(parsed.field_violations(0).field(), "fine_tune.method.lora.rank");
  EXPECT_EQ(parsed.field_violations(0).reason(), "OUT_OF_RANGE");
}

TEST(RpcStatusTest, OkIsOk) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(RpcStatusTest, BrokenDetailsAreDroppedAndTheRestStays) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::NOT_FOUND, "no job 7", "\xff\xff broken"));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "no job 7");
}

TEST(RpcStatusTest, AnEndlessStatusFitsIntoTheTrailerAndKeepsItsFirstWords) {
  google::rpc::BadRequest bad_request;
  for (int i = 0; i < 1000; ++i) {
    auto* violation = bad_request.add_field_violations();
    violation->set_field(absl::StrCat("field", i));
    violation->set_description(std::string(500, 'x'));
  }
  absl::Status status = absl::InvalidArgumentError("wte is missing; " + std::string(9999, 'y'));
  const std::string url = absl::StrCat(kTypeUrlPrefix, "google.rpc.BadRequest");
  status.SetPayload(url, absl::Cord(bad_request.SerializeAsString()));
  const grpc::Status sent = ToGrpcStatus(status);
  EXPECT_LT(sent.error_message().size() + sent.error_details().size() * 4 / 3, 7000u);
  EXPECT_EQ(sent.error_message().rfind("wte is missing; ", 0), 0u);
  google::rpc::BadRequest received;
  ASSERT_TRUE(FromGrpcStatus(sent).GetPayload(url).has_value());
  ASSERT_TRUE(received.ParseFromString(std::string(*FromGrpcStatus(sent).GetPayload(url))));
  ASSERT_GT(received.field_violations_size(), 2);
  EXPECT_EQ(received.field_violations(0).field(), "field0");
}

TEST(RpcStatusTest, AMessageThatIsCutInsideACharacterLeavesTheDetailsReadable) {
  google::rpc::ErrorInfo info;
  info.set_reason("DISK_FULL");
  const std::string url = absl::StrCat(kTypeUrlPrefix, "google.rpc.ErrorInfo");
  const std::string raw[] = {"\xF0\x9D\x84", "\xFF\xFE", "\xF0\x9D\x84\x9E"};
  for (const std::string& piece : raw) {
    for (size_t before = 1196; before <= 1200; ++before) {
      absl::Status status =
          absl::InternalError(absl::StrCat(std::string(before, 'x'), piece, "its last words"));
      status.SetPayload(url, absl::Cord(info.SerializeAsString()));
      google::rpc::Status read;
      EXPECT_TRUE(read.ParseFromString(ToRpcStatus(status).SerializeAsString()));
      const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));
      EXPECT_EQ(back.message().substr(0, 1196), std::string(1196, 'x'));
      EXPECT_TRUE(back.GetPayload(url).has_value()) << before;
    }
  }
}

}  // namespace
}  // namespace graft
