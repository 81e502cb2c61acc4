#include "server/catalogue/lease_inputs.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/jobs/artifacts.h"
#include "common/jobs/continuation.h"
#include "common/jobs/job_spec.h"
#include "common/rpc/status.h"

namespace graft {
namespace {

template <typename T>
worker::v1::InputFiles Files(const T& resource) {
  worker::v1::InputFiles files;
  files.set_sha256(resource.sha256());
  *files.mutable_files() = resource.files();
  return files;
}

// A checkpoint is no resource, so nothing has hashed its files together.
worker::v1::InputFiles SetOf(const std::vector<v1::Artifact>& artifacts) {
  worker::v1::InputFiles set;
  for (const v1::Artifact& file : artifacts) *set.add_files() = file;
  set.set_sha256(ManifestSha256(ToManifest(artifacts)));
  return set;
}

// `expected` is empty where the spec names none.
absl::Status CheckHash(absl::string_view what, absl::string_view name, absl::string_view found,
                       absl::string_view expected) {
  if (found == expected || expected.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(what, " \"", name, "\" is no longer the one that the job was submitted with"));
}

const char* DataFileName(v1::DatasetFormat format) {
  if (format == v1::DATASET_FORMAT_CSV) return "data.csv";
  return format == v1::DATASET_FORMAT_TEXT ? "data.txt" : "data.jsonl";
}

absl::StatusOr<v1::Artifact> DatasetFile(JobStore& store, const std::string& name,
                                         const std::string& sha256) {
  ASSIGN_OR_RETURN(const v1::Dataset dataset, store.GetDataset(name));
  RETURN_IF_ERROR(CheckHash("data set", name, dataset.sha256(), sha256));
  return FileOf(dataset);
}

absl::StatusOr<worker::v1::InputFiles> AdapterFiles(JobStore& store, const std::string& name,
                                                    const std::string& sha256) {
  ASSIGN_OR_RETURN(const v1::Adapter adapter, store.GetAdapter(name));
  RETURN_IF_ERROR(CheckHash("adapter", name, adapter.sha256(), sha256));
  return Files(adapter);
}

}  // namespace

worker::v1::InputFiles FilesOf(const v1::Model& model) { return Files(model); }
worker::v1::InputFiles FilesOf(const v1::Adapter& adapter) { return Files(adapter); }

v1::Artifact FileOf(const v1::Dataset& dataset) {
  v1::Artifact file;
  // The ending tells the engine the format (FormatOfName). Not the data set's name: with that it
  // could be too long for a file's.
  file.set_path(DataFileName(dataset.format()));
  file.set_size_bytes(dataset.size_bytes());
  file.set_sha256(dataset.sha256());
  return file;
}

absl::Status FillLease(JobStore& store, const Claim& claim, worker::v1::Lease* lease) {
  const v1::JobSpec& spec = claim.job.resolved_spec();
  const bool evaluates = spec.has_evaluate();
  const std::string& model_name =
      evaluates ? spec.evaluate().base_model() : spec.fine_tune().base_model();
  ASSIGN_OR_RETURN(const v1::Model model, store.GetModel(model_name));
  RETURN_IF_ERROR(CheckHash(
      "model", model_name, model.sha256(),
      evaluates ? spec.evaluate().base_model_sha256() : spec.fine_tune().base_model_sha256()));
  *lease->mutable_base_model() = FilesOf(model);
  const std::string adapter_name =
      evaluates ? spec.evaluate().adapter() : InitialAdapter(spec.fine_tune());
  if (!adapter_name.empty()) {
    ASSIGN_OR_RETURN(*lease->mutable_adapter(),
                     AdapterFiles(store, adapter_name,
                                  evaluates ? spec.evaluate().adapter_sha256()
                                            : spec.fine_tune().init_from_sha256()));
  }
  for (int i = 0; i < spec.evaluate().adapters_size(); ++i) {
    ASSIGN_OR_RETURN(*lease->add_adapters(), AdapterFiles(store, spec.evaluate().adapters(i),
                                                          spec.evaluate().adapters_sha256(i)));
  }
  const v1::DataSpec& data = evaluates ? spec.evaluate().data() : spec.fine_tune().data();
  // A field of the lease is made only for what there is: the worker fetches every one that is set.
  if (!evaluates && !data.train().empty()) {
    ASSIGN_OR_RETURN(*lease->mutable_train_data(),
                     DatasetFile(store, data.train(), data.train_sha256()));
  }
  if (!data.validation().empty()) {
    ASSIGN_OR_RETURN(*lease->mutable_validation_data(),
                     DatasetFile(store, data.validation(), data.validation_sha256()));
  }
  lease->set_job(claim.job.name());
  lease->set_attempt(claim.attempt);
  lease->set_lease_epoch(claim.lease_epoch);
  *lease->mutable_resolved_spec() = spec;
  lease->set_display_name(claim.job.display_name());
  lease->set_allow_migration(claim.job.allow_migration());
  lease->set_pause_at_step(claim.job.pause_at_step());
  lease->set_base_model_name(model_name);
  if (!claim.checkpoint.empty()) *lease->mutable_checkpoint() = SetOf(claim.checkpoint);
  if (claim.checkpoint.empty() && !evaluates && ContinuesJob(spec.fine_tune())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "it goes on from ", spec.fine_tune().init_from(), ", which was corrupt or is gone"));
  }
  lease->set_checkpoint_step(claim.checkpoint_step);
  const auto bytes = static_cast<int64_t>(lease->ByteSizeLong());
  if (bytes <= kMaxLeaseBytes) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("its spec and files take ", bytes,
                                            " bytes to tell of; a worker can be told at most ",
                                            kMaxLeaseBytes));
}

AttemptOutcome OutcomeOfUnfilled(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return AttemptFailed{ToRpcStatus(status), v1::FAILURE_CLASS_CONFIG};
    case absl::StatusCode::kDataLoss:
      return AttemptFailed{ToRpcStatus(absl::DataLossError(
                               absl::StrCat("the server's store is broken: ", status.message()))),
                           v1::FAILURE_CLASS_INTERNAL};
    default:
      return AttemptReturned{.reason = ToRpcStatus(status), .by_server = true};
  }
}

}  // namespace graft
