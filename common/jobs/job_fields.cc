#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/limits.h"
#include "common/base/utf8.h"
#include "common/errors/field_checks.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/spec_checks.h"

namespace graft {
namespace {

bool IsLabelKey(absl::string_view key) {
  if (key.empty() || key.size() > kMaxLabelKeyBytes) return false;
  for (const char c : key) {
    const bool allowed =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
    if (!allowed) return false;
  }
  return true;
}

void CheckJobFields(const v1::Job& job, const FieldScope& scope) {
  scope.AtMostBytes("display_name", job.display_name(), kMaxDisplayNameBytes);
  scope.AtMostBytes("study", job.study(), kMaxStudyBytes);
  scope.Between("priority", job.priority(), -kMaxPriority, kMaxPriority);
  if (job.has_deadline()) {
    const auto& time = job.deadline();
    scope.Require(time.seconds() >= 0 && time.seconds() < kMaxDeadline && time.nanos() >= 0 &&
                      time.nanos() < 1'000'000'000,
                  "deadline", "must be a time from 1970 to 2199");
  }
  if (job.labels_size() > kMaxLabels) {
    scope.Add("labels", absl::StrCat("has ", job.labels_size(), " entries; at most ", kMaxLabels,
                                     " are allowed"));
    return;
  }
  const std::map<std::string, std::string> labels(job.labels().begin(), job.labels().end());
  for (const auto& [key, value] : labels) {
    scope.Require(IsLabelKey(key), "labels",
                  absl::StrCat("key \"", Shortened(key, kMaxLabelKeyBytes),
                               "\" must be 1 to 63 of a-z 0-9 _ . -"));
    scope.AtMostBytes("labels", value, kMaxLabelValueBytes);
  }
}

// A path of a mask: "display_name".
void CheckPath(absl::string_view path, const FieldScope& scope) {
  for (const char* known : {"display_name", "labels", "priority", "deadline", "allow_migration"}) {
    if (path == known) return;
  }
  if (absl::ConsumePrefix(&path, kLabelPath)) {
    return scope.Require(IsLabelKey(path), "update_mask",
                         absl::StrCat("\"", kLabelPath, Shortened(path, kMaxLabelKeyBytes),
                                      "\": a label's key is 1 to 63 of a-z 0-9 _ . -"));
  }
  scope.Add("update_mask", absl::StrCat("\"", Shortened(path, kMaxLabelKeyBytes),
                                        "\" of a job cannot be changed; display_name, labels, "
                                        "labels.KEY, priority, deadline and allow_migration can"));
}

void CheckRequestId(absl::string_view request_id, const FieldScope& scope) {
  scope.AtMostBytes("request_id", request_id, kMaxRequestIdBytes);
  for (const char c : request_id) {
    if (c > ' ' && c <= '~') continue;
    return scope.Add("request_id", "must be printable ASCII without spaces");
  }
}

}  // namespace

absl::Status ValidateJobFields(const v1::Job& job, absl::string_view path) {
  Violations violations;
  CheckJobFields(job, FieldScope(violations, path));
  return violations.ToStatus();
}

absl::Status ValidateRequestId(absl::string_view request_id) {
  Violations violations;
  CheckRequestId(request_id, FieldScope(violations, ""));
  return violations.ToStatus();
}

absl::Status ValidateUpdateJob(const v1::UpdateJobRequest& request) {
  Violations violations;
  const FieldScope scope(violations, "");
  CheckJobFields(request.job(), scope.At("job"));
  const auto& paths = request.update_mask().paths();
  scope.Require(!paths.empty(), "update_mask", "must name what is to be changed");
  if (paths.size() > kMaxLabels) {
    scope.Add("update_mask",
              absl::StrCat("has ", paths.size(), " paths; at most ", kMaxLabels, " are allowed"));
    return violations.ToStatus();
  }
  for (const std::string& path : paths) CheckPath(path, scope);
  return violations.ToStatus();
}

absl::Status ValidateCreateJob(const v1::CreateJobRequest& request) {
  Violations violations;
  const FieldScope scope(violations, "");
  CheckRequestId(request.request_id(), scope);
  CheckJobFields(request.job(), scope.At("job"));
  // Each field has its bound; this one is for what has none, like many of them together.
  const auto bytes = static_cast<int64_t>(request.job().spec().ByteSizeLong());
  if (bytes > kMaxSpecBytes) {
    violations.Add("job.spec", absl::StrCat("takes ", bytes, " bytes; at most ", kMaxSpecBytes,
                                            " are allowed"));
    return violations.ToStatus();
  }
  CheckSpec(request.job().spec(), scope.At("job.spec"));
  return violations.ToStatus();
}

}  // namespace graft
