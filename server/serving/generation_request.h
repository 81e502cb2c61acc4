#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "graft/v1/adapter.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/store/job_store.h"

namespace graft {

inline constexpr size_t kMaxPromptBytes = 1 << 20;
inline constexpr int kMaxStopStrings = 16;
inline constexpr size_t kMaxStopStringBytes = 256;
inline constexpr int kMaxReturnSequences = 64;
inline constexpr int kMaxBatchTexts = 1024;  // Of all requests of a batch.

// What a worker is told of each, but for where it is made. INVALID_ARGUMENT: neither a model nor an
// adapter, an empty or too long prompt, a number out of range, options that exclude one another, or
// an adapter of another model; NOT_FOUND: model or adapter.
absl::StatusOr<worker::v1::Command::Generate> ResolveGeneration(JobStore& store,
                                                                const v1::GenerateRequest& request);
// The fields of a request are called "requests[3].prompt" then. INVALID_ARGUMENT, too, of no
// request, more than kMaxBatchTexts texts, and the first request that is on another base model.
absl::StatusOr<std::vector<worker::v1::Command::Generate>> ResolveGenerationBatch(
    JobStore& store, const v1::GenerateBatchRequest& batch);

}  // namespace graft
