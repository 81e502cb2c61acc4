#pragma once

// Why a job failed, as far as that decides what happens next (graft.v1.FailureClass). It travels
// with the absl::Status as a payload, put there where it is known.

#include "absl/status/status.h"

namespace graft {

enum class FailureClass { kInfrastructure, kConfig, kData, kOutOfMemory, kDiverged, kInternal };

// Marks `status` unless it is OK or already marked.
absl::Status WithFailureClass(absl::Status status, FailureClass failure_class);

// The mark; without one what the code says: INVALID_ARGUMENT, NOT_FOUND and UNIMPLEMENTED are
// kConfig; UNAVAILABLE, DATA_LOSS, PERMISSION_DENIED and RESOURCE_EXHAUSTED (a full disk: memory
// is always marked) kInfrastructure; OUT_OF_RANGE, the trainer's word for it, kDiverged; anything
// else kInternal.
FailureClass FailureClassOf(const absl::Status& status);

// RESOURCE_EXHAUSTED by memory: less at once may do.
bool IsOutOfMemory(const absl::Status& status);

}  // namespace graft
