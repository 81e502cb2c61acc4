#pragma once

// Answers of the gateway that are whole: messages and errors, as protobuf's JSON.

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "server/http/exchange.h"

namespace graft {

inline constexpr char kJsonType[] = "application/json";

// With the protos' field names; int64 as strings, enums by their full names.
std::string ToJson(const google::protobuf::Message& message);

// As google.rpc.Code says: NOT_FOUND is 404.
int HttpStatusOf(absl::StatusCode code);

// {"error": {"code": 404, "message": …, "status": "NOT_FOUND", "details": […]}}
std::string ErrorJson(const absl::Status& status, int http_status);

void AnswerMessage(Exchange& exchange, const google::protobuf::Message& message);
// With HttpStatusOf, unless another one is given.
void AnswerError(Exchange& exchange, const absl::Status& status, int http_status = 0);

}  // namespace graft
