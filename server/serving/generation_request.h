#pragma once

#include "absl/status/statusor.h"
#include "graft/v1/adapter.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/store/job_store.h"

namespace graft {

inline constexpr size_t kMaxPromptBytes = 1 << 20;

// What an idle worker is told, but for its id. INVALID_ARGUMENT: neither a model nor an adapter, an
// empty or too long prompt, no UTF-8, a number out of range, or an adapter of another model;
// NOT_FOUND: model or adapter.
absl::StatusOr<worker::v1::Command::Generate> ResolveGeneration(JobStore& store,
                                                                const v1::GenerateRequest& request);

}  // namespace graft
