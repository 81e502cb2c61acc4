#include "worker/engine/failure.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace graft {
namespace {

constexpr char kPayload[] = "graft/failure_class";

}  // namespace

absl::Status WithFailureClass(absl::Status status, FailureClass failure_class) {
  if (!status.ok() && !status.GetPayload(kPayload).has_value()) {
    status.SetPayload(kPayload, absl::Cord(absl::StrCat(static_cast<int>(failure_class))));
  }
  return status;
}

FailureClass FailureClassOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kPayload); payload.has_value()) {
    int value = 0;
    if (absl::SimpleAtoi(std::string(*payload), &value)) return static_cast<FailureClass>(value);
  }
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kUnimplemented:
      return FailureClass::kConfig;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kResourceExhausted:
      return FailureClass::kInfrastructure;
    case absl::StatusCode::kOutOfRange:
      return FailureClass::kDiverged;
    default:
      return FailureClass::kInternal;
  }
}

bool IsOutOfMemory(const absl::Status& status) {
  return !status.ok() && FailureClassOf(status) == FailureClass::kOutOfMemory;
}

}  // namespace graft
