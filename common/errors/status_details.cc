#include "common/errors/status_details.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"
#include "google/protobuf/message.h"

namespace graft {
namespace {

constexpr char kStepKey[] = "step";  // In the metadata of CHECKPOINT_CORRUPT.

std::string TypeUrl(const google::protobuf::Message& message) {
  return absl::StrCat("type.googleapis.com/", message.GetTypeName());
}

template <typename Detail>
bool ReadDetail(const absl::Status& status, Detail& detail) {
  const auto payload = status.GetPayload(TypeUrl(detail));
  return payload.has_value() && detail.ParseFromString(std::string(*payload));
}

void SetDetail(absl::Status& status, const google::protobuf::Message& detail) {
  status.SetPayload(TypeUrl(detail), absl::Cord(detail.SerializeAsString()));
}

}  // namespace

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(kErrorDomain);
  SetDetail(status, info);
  return status;
}

std::string ReasonOf(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  return ReadDetail(status, info) && info.domain() == kErrorDomain ? info.reason() : "";
}

absl::Status CheckpointCorrupt(const absl::Status& status, int64_t step) {
  absl::Status corrupt = absl::DataLossError(
      absl::StrCat("the checkpoint of step ", step, " is corrupt: ", status.message()));
  google::rpc::ErrorInfo info;
  info.set_reason(kReasonCheckpointCorrupt);
  info.set_domain(kErrorDomain);
  (*info.mutable_metadata())[kStepKey] = absl::StrCat(step);
  SetDetail(corrupt, info);
  return corrupt;
}

std::optional<int64_t> CorruptCheckpointOf(const google::rpc::Status& status) {
  for (const google::protobuf::Any& detail : status.details()) {
    google::rpc::ErrorInfo info;
    int64_t step = 0;
    if (detail.UnpackTo(&info) && info.domain() == kErrorDomain &&
        info.reason() == kReasonCheckpointCorrupt && info.metadata().count(kStepKey) > 0 &&
        absl::SimpleAtoi(info.metadata().at(kStepKey), &step)) {
      return step;
    }
  }
  return std::nullopt;
}

absl::Status WithRetryDelay(absl::Status status, absl::Duration delay) {
  google::rpc::RetryInfo info;
  const int64_t seconds = absl::IDivDuration(delay, absl::Seconds(1), &delay);
  info.mutable_retry_delay()->set_seconds(seconds);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(delay / absl::Nanoseconds(1)));
  SetDetail(status, info);
  return status;
}

absl::Status Overloaded(absl::string_view what, absl::Duration retry_after) {
  return WithRetryDelay(WithReason(absl::ResourceExhaustedError(what), kReasonQueueFull),
                        retry_after);
}

absl::Duration RetryDelayOf(const absl::Status& status) {
  google::rpc::RetryInfo info;
  if (!ReadDetail(status, info)) return absl::ZeroDuration();
  return absl::Seconds(info.retry_delay().seconds()) +
         absl::Nanoseconds(info.retry_delay().nanos());
}

absl::Status DiskFull(absl::string_view message) {
  return WithRetryDelay(WithReason(absl::ResourceExhaustedError(message), kReasonDiskFull),
                        absl::Minutes(1));
}

void Violations::Add(absl::string_view field, absl::string_view description,
                     absl::string_view reason) {
  auto* violation = request_.add_field_violations();
  // They may quote what came from outside; cut or not, one bad byte would cost all of them.
  violation->set_field(ToValidUtf8(field));
  violation->set_description(ToValidUtf8(description));
  violation->set_reason(std::string(reason));
}

void Violations::AddAll(const absl::Status& status) {
  for (auto& violation : FieldViolationsOf(status)) {
    *request_.add_field_violations() = std::move(violation);
  }
}

absl::Status Violations::ToStatus() const {
  if (empty()) return absl::OkStatus();
  const auto& violations = request_.field_violations();
  const bool missing = std::all_of(violations.begin(), violations.end(), [](const auto& violation) {
    return absl::EndsWith(violation.reason(), "_MISSING");
  });
  return Explain(missing ? absl::NotFoundError("")
                         : WithReason(absl::InvalidArgumentError(""), kReasonInvalidSpec));
}

absl::Status Violations::Explain(const absl::Status& status) const {
  std::string message;
  for (const auto& violation : request_.field_violations()) {
    absl::StrAppend(&message, message.empty() ? "" : "; ", violation.field(), ": ",
                    violation.description());
  }
  absl::Status explained(status.code(), message);
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    explained.SetPayload(url, payload);
  });
  if (!explained.ok()) SetDetail(explained, request_);
  return explained;
}

absl::Status FieldViolation(absl::string_view field, absl::string_view description) {
  Violations violations;
  violations.Add(field, description);
  return violations.ToStatus();
}

std::vector<google::rpc::BadRequest::FieldViolation> FieldViolationsOf(const absl::Status& status) {
  google::rpc::BadRequest request;
  if (!ReadDetail(status, request)) return {};
  return {request.field_violations().begin(), request.field_violations().end()};
}

}  // namespace graft
