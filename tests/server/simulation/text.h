#pragma once

// What the store and the model say, as text that is the same when they mean the same.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/errors/status_details.h"
#include "tests/server/simulation/model_job.h"

namespace graft::simulation {

std::string Text(const v1::Job& job);
std::string Text(const ModelJob& job);
std::string Text(const JobNeeds& needs);
std::string Text(const v1::JobEvent& event);
std::string Text(const DeletedJob& deleted);
std::string Text(const v1::PurgeJobsResponse& purged);
// `names` may be more than an answer has.
std::string PurgeText(int64_t count, const std::vector<std::string>& names);
std::string Text(const v1::JobCheckpoint& checkpoint);
std::string Text(int64_t step, const ModelCheckpoint& checkpoint);
std::string Text(const std::vector<LeaseRenewal>& renewals);
std::string Text(const std::optional<Claim>& claim);
std::string Text(int64_t number);
std::string Text(v1::JobState state);
std::string Text(const std::vector<std::string>& names);

std::string ClaimText(const ModelJob& job);
std::string MetricsText(const char* what, int64_t step,
                        const std::map<std::string, double>& values);

Answer Refusal(absl::StatusCode code, const std::string& reason = "");
Answer StaleLease();

inline Answer ToAnswer(const absl::Status& status) { return {status.code(), ReasonOf(status), ""}; }
template <typename T>
Answer ToAnswer(const absl::StatusOr<T>& result) {
  if (!result.ok()) return ToAnswer(result.status());
  return {absl::StatusCode::kOk, "", Text(*result)};
}
std::string Text(const Answer& answer);

}  // namespace graft::simulation
