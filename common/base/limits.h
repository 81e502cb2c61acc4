#pragma once

// Every bound on what comes from outside or may grow, with its unit. Going over one is a Status
// that a test has seen: INVALID_ARGUMENT for what a request holds, RESOURCE_EXHAUSTED for what the
// service holds.

#include <cstdint>

namespace graft {

// Requests.
inline constexpr int kMaxNameBytes = 128;  // Also of file names: see IsSafeFileName.
inline constexpr int kMaxDisplayNameBytes = 128;
inline constexpr int kMaxStudyBytes = 128;
inline constexpr int kMaxLabels = 64;
inline constexpr int kMaxLabelKeyBytes = 63;
inline constexpr int kMaxLabelValueBytes = 256;
inline constexpr int kMaxPriority = 1000;               // And at least -kMaxPriority.
inline constexpr int64_t kMaxDeadline = 7'258'118'400;  // The year 2200, in seconds since 1970.
inline constexpr int kMaxRequestIdBytes = 128;
inline constexpr int kMaxFilterBytes = 4096;
inline constexpr int kMaxFilterTerms = 32;
inline constexpr int kMaxPageTokenBytes = 4096;
inline constexpr int kDefaultPageSize = 50;
inline constexpr int kMaxPageSize = 1000;
inline constexpr int kMaxPromptTemplateBytes = 16 * 1024;
inline constexpr int kMaxInitTextBytes = 16 * 1024;
inline constexpr int kMaxFieldNameBytes = 256;
inline constexpr int64_t kMaxSpecBytes = 256 * 1024;  // Of a job's spec, serialised.
inline constexpr int kMaxThreads = 256;
inline constexpr int kMaxBatchSize = 1024;     // Rows.
inline constexpr int kMaxAccumulation = 4096;  // Micro-batches.
inline constexpr int kMaxEpochs = 10'000;
inline constexpr int64_t kMaxSteps = 1'000'000'000;
inline constexpr int kMaxKeptCheckpoints = 100;
inline constexpr double kMaxCheckpointSeconds = 864'000;
inline constexpr int kMaxSampleEvents = 16;
inline constexpr int kMaxBeams = 64;
inline constexpr int kMaxListEntries = 1024;  // Of any repeated field of a spec.

// Messages.
inline constexpr int64_t kMaxMessageBytes = 4 << 20;  // Of one gRPC message.
inline constexpr int64_t kMaxLeaseBytes = 3 << 20;    // Of what a worker is told of a job.
inline constexpr int64_t kMaxPageBytes = 2 << 20;     // A list's page ends before it has more.
inline constexpr int64_t kMaxChunkBytes = 1 << 20;    // Of the data in one piece of a file.

// Events.
inline constexpr int kMaxEventsPerBatch = 1000;
inline constexpr int64_t kMaxEventBytes = 1 << 20;
inline constexpr int kMaxEventsPerRead = 1000;
inline constexpr int kMaxFilesPerManifest = 1000;

}  // namespace graft
