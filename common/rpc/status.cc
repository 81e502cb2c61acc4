#include "common/rpc/status.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"
#include "google/rpc/error_details.pb.h"

namespace graft {
namespace {

// gRPC's peers accept 8 KiB of trailing metadata unless told otherwise, and drop the whole status
// beyond: message (percent-encoded) and details (base64, the message again) must stay below
// together.
constexpr size_t kMaxMessageBytes = 1200;
constexpr size_t kMaxDetailsBytes = 3600;
constexpr size_t kMaxDescriptionBytes = 300;
// Of the message that the details repeat: with a long list of violations the list needs the room.
constexpr size_t kMaxRepeatedBytes = 300;
// What Any adds to a detail: its type URL and the lengths.
constexpr size_t kAnyBytes = 64;

std::string Cut(absl::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  return absl::StrCat(Shortened(text, limit), " (", text.size() - limit, " bytes are left out)");
}

// As many violations as fit, the first ones first; other details whole or not at all.
google::rpc::Status Fitted(const google::rpc::Status& status) {
  google::rpc::Status fitted;
  fitted.set_code(status.code());
  fitted.set_message(Cut(status.message(), kMaxMessageBytes));
  for (const google::protobuf::Any& detail : status.details()) {
    google::protobuf::Any kept = detail;
    google::rpc::BadRequest request;
    if (detail.UnpackTo(&request)) {
      if (request.field_violations_size() > 1) {
        fitted.set_message(Cut(status.message(), kMaxRepeatedBytes));
      }
      google::rpc::BadRequest fewer;
      for (const auto& violation : request.field_violations()) {
        auto* added = fewer.add_field_violations();
        *added = violation;
        added->set_description(Cut(violation.description(), kMaxDescriptionBytes));
        if (fitted.ByteSizeLong() + fewer.ByteSizeLong() > kMaxDetailsBytes - kAnyBytes) {
          fewer.mutable_field_violations()->RemoveLast();
          break;
        }
      }
      kept.PackFrom(fewer);
    }
    *fitted.add_details() = kept;
    if (fitted.ByteSizeLong() > kMaxDetailsBytes) fitted.mutable_details()->RemoveLast();
  }
  return fitted;
}

}  // namespace

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status result;
  result.set_code(static_cast<int>(status.code()));
  result.set_message(ToValidUtf8(status.message()));
  status.ForEachPayload([&result](absl::string_view type_url, const absl::Cord& payload) {
    google::protobuf::Any* detail = result.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  return result;
}

absl::Status FromRpcStatus(const google::rpc::Status& status) {
  absl::Status result(static_cast<absl::StatusCode>(status.code()), status.message());
  for (const google::protobuf::Any& detail : status.details()) {
    result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return result;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status whole = ToRpcStatus(status);
  const google::rpc::Status details = Fitted(whole);
  // Without details the trailer would only repeat code and message.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      Cut(whole.message(), kMaxMessageBytes),
                      details.details().empty() ? "" : details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) details.Clear();
  details.set_code(status.error_code());
  details.set_message(status.error_message());
  return FromRpcStatus(details);
}

}  // namespace graft
