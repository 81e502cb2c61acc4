#include "server/http/answers.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

bool TryToJson(const google::protobuf::Message& message, std::string* json) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  return google::protobuf::util::MessageToJsonString(message, json, options).ok();
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  std::string json;
  return TryToJson(message, &json) ? json : "{}";
}

int HttpStatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string ErrorJson(const absl::Status& status, int http_status) {
  const google::rpc::Status whole = ToRpcStatus(status);
  nlohmann::json details = nlohmann::json::array();
  for (const google::protobuf::Any& detail : whole.details()) {
    std::string json;
    // One of a type that is not known here has no JSON.
    if (TryToJson(detail, &json)) details.push_back(nlohmann::json::parse(json));
  }
  nlohmann::json error = {{"code", http_status},
                          {"message", whole.message()},
                          {"status", absl::StatusCodeToString(status.code())}};
  if (!details.empty()) error["details"] = std::move(details);
  return nlohmann::json({{"error", std::move(error)}}).dump();
}

void AnswerMessage(Exchange& exchange, const google::protobuf::Message& message) {
  std::string json;
  if (!TryToJson(message, &json)) {
    return AnswerError(exchange, absl::InternalError("the answer has no JSON"));
  }
  exchange.Answer({200, kJsonType, {}}, std::move(json));
}

void AnswerError(Exchange& exchange, const absl::Status& status, int http_status) {
  if (http_status == 0) http_status = HttpStatusOf(status.code());
  HttpHead head{http_status, kJsonType, {}};
  if (const absl::Duration delay = RetryDelayOf(status); delay > absl::ZeroDuration()) {
    const int64_t seconds = absl::ToInt64Seconds(absl::Ceil(delay, absl::Seconds(1)));
    head.headers.emplace_back("Retry-After", absl::StrCat(seconds));
  }
  exchange.Answer(std::move(head), ErrorJson(status, http_status));
}

}  // namespace graft
