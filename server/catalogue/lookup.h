#pragma once

// From names in requests to what the store knows about them.

#include <vector>

#include "absl/status/statusor.h"
#include "common/jobs/job_spec.h"
#include "google/protobuf/message.h"
#include "graft/v1/spec.pb.h"
#include "server/catalogue/catalogue.h"
#include "server/store/job_store.h"

namespace graft {

struct ResolvedFromStore {
  v1::JobSpec spec;
  std::vector<v1::Warning> warnings;  // WarningsOf.
  // The data sets that are not there: NOT_FOUND, each violation with the reason DATASET_MISSING. In
  // `spec` they have no hash, and it was resolved as if they held whatever it asks for.
  absl::Status missing_data;
};

// Looks every name of `spec` up and resolves it (common/jobs/job_spec.h). `spec` has passed
// ValidateSpec. Names all that is wrong: NOT_FOUND when it is only that a model or adapter (and
// perhaps a data set) is not known, with the field and what is known instead; else INVALID_ARGUMENT
// with what ResolveSpec finds.
absl::StatusOr<ResolvedFromStore> ResolveFromStore(const Catalogue& catalogue,
                                                   const v1::JobSpec& spec,
                                                   const SpecDefaults& defaults,
                                                   absl::string_view path);

// GetModel, GetAdapter, GetDataset with an error that names the field and what there is instead.
absl::StatusOr<v1::Model> FindModel(JobStore& store, const SpecReference& reference);
absl::StatusOr<v1::Adapter> FindAdapter(JobStore& store, const SpecReference& reference);
absl::StatusOr<v1::Dataset> FindDataset(JobStore& store, const SpecReference& reference);

// The key under which a mutation's answer is kept: its field `request_id`, and the hash of
// everything else in it (and of its type).
RequestKey RequestKeyOf(const google::protobuf::Message& request);

}  // namespace graft
