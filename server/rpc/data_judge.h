#pragma once

#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "graft/v1/spec.pb.h"
#include "server/rpc/service_context.h"

namespace graft {

// Judges the data of a resolved spec; nothing: they must be read first, in Lane::kCheck.
using DataJudge = std::function<std::optional<absl::Status>(const v1::JobSpec& resolved)>;

// What may be said in `lane`. `path` is that of the spec in the request. `context` and `caller`
// outlive what is returned.
DataJudge JudgeIn(ServiceContext& context, Lane lane, const Caller& caller, const char* path);

}  // namespace graft
