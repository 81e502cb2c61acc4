#pragma once

// From names in requests to what the store knows about them.

#include "absl/status/statusor.h"
#include "common/jobs/job_spec.h"
#include "google/protobuf/message.h"
#include "graft/v1/spec.pb.h"
#include "server/store/job_store.h"

namespace graft {

// Looks every name of `spec` up and resolves it (common/jobs/job_spec.h). `spec` has passed
// ValidateSpec. NOT_FOUND: a model, data set or adapter is not known; the violation names the field
// and the message what is known. INVALID_ARGUMENT: what ResolveSpec finds.
absl::StatusOr<v1::JobSpec> ResolveFromStore(JobStore& store, const v1::JobSpec& spec,
                                             const SpecDefaults& defaults, absl::string_view path);

// GetModel, GetAdapter, GetDataset with an error that names the field and what there is instead.
absl::StatusOr<v1::Model> FindModel(JobStore& store, const SpecReference& reference);
absl::StatusOr<v1::Adapter> FindAdapter(JobStore& store, const SpecReference& reference);
absl::StatusOr<v1::Dataset> FindDataset(JobStore& store, const SpecReference& reference);

// The key under which a mutation's answer is kept: its field `request_id`, and the hash of
// everything else in it (and of its type).
RequestKey RequestKeyOf(const google::protobuf::Message& request);

}  // namespace graft
