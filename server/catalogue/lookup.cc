#include "server/catalogue/lookup.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/limits.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/formats/graft_json.h"
#include "common/jobs/continuation.h"
#include "common/jobs/names.h"
#include "common/jobs/trained_with.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace graft {
namespace {

constexpr int kNamesInErrors = 10;

template <typename T>
std::string KnownNames(const absl::StatusOr<Page<T>>& page, absl::string_view what) {
  if (!page.ok()) return "";
  if (page->items.empty()) return absl::StrCat("; there are no ", what, " yet");
  std::vector<std::string> names;
  for (const T& item : page->items) names.push_back(item.name());
  return absl::StrCat("; known ", what, ": ", absl::StrJoin(names, ", "),
                      page->next_page_token.empty() ? "" : ", ...");
}

// Says where the name stands. `known` is only called when there is no such thing.
template <typename T, typename Known>
absl::StatusOr<T> Explain(absl::StatusOr<T> found, const SpecReference& reference,
                          absl::string_view what, absl::string_view reason, const Known& known) {
  if (!absl::IsNotFound(found.status())) return found;
  Violations violations;
  violations.Add(reference.field,
                 absl::StrCat("there is no ", what, " \"", reference.name, "\"", known()), reason);
  return violations.ToStatus();
}

// A data set of which nothing is known has every field that the spec asks for, and rows enough.
v1::Dataset Assumed(const std::string& name, v1::DataSpec data) {
  ResolveFields(data);
  v1::Dataset dataset;
  dataset.set_name(name);
  dataset.set_num_rows(kMaxSteps);
  for (const std::string& field : {data.source_field(), data.target_field(), data.text_field()}) {
    dataset.add_fields(field);
  }
  return dataset;
}

// What a spec names, as far as it is there.
struct Found {
  v1::Model model;
  v1::Adapter adapter;
  std::vector<v1::Adapter> adapters;  // Of several, as far as they are there.
  v1::Dataset train, validation;
  std::optional<v1::FineTuneSpec> continued;
  Violations missing;  // Models and adapters.
  Violations missing_data;
};

// Takes what was found over into `thing`, or the violation into `missing`.
template <typename T>
absl::Status Take(absl::StatusOr<T> found, T& thing, Violations& missing) {
  if (absl::IsNotFound(found.status())) {
    missing.AddAll(found.status());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(found.status());
  thing = *std::move(found);
  return absl::OkStatus();
}

absl::Status LookUp(JobStore& store, const SpecReferences& references, const v1::DataSpec& data,
                    Found& found) {
  SpecReference base = references.base_model;
  if (!references.adapter.name.empty()) {
    RETURN_IF_ERROR(Take(FindAdapter(store, references.adapter), found.adapter, found.missing));
    if (base.name.empty()) base.name = found.adapter.base_model();
  }
  for (const SpecReference& adapter : references.adapters) {
    found.adapters.emplace_back();
    RETURN_IF_ERROR(Take(FindAdapter(store, adapter), found.adapters.back(), found.missing));
    if (base.name.empty()) base.name = found.adapters.back().base_model();
  }
  if (!base.name.empty()) {
    RETURN_IF_ERROR(Take(FindModel(store, base), found.model, found.missing));
  }
  if (!references.train.name.empty()) {
    found.train = Assumed(references.train.name, data);
    RETURN_IF_ERROR(Take(FindDataset(store, references.train), found.train, found.missing_data));
  }
  if (!references.validation.name.empty()) {
    found.validation = Assumed(references.validation.name, data);
    RETURN_IF_ERROR(
        Take(FindDataset(store, references.validation), found.validation, found.missing_data));
  }
  return absl::OkStatus();
}

// The job whose checkpoint the spec names. That the checkpoint is there, the store sees to.
absl::Status FindContinued(JobStore& store, const v1::FineTuneSpec& spec,
                           const SpecReference& init_from, Found& found) {
  ASSIGN_OR_RETURN(const CheckpointRef checkpoint,
                   ParseCheckpointName(spec.init_from(), init_from.field));
  absl::StatusOr<v1::Job> job = store.GetJob(JobName(checkpoint.job));
  if (absl::IsNotFound(job.status())) {
    found.missing.Add(init_from.field, job.status().message(), kReasonCheckpointMissing);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(job.status());
  if (job->resolved_spec().has_fine_tune()) {
    found.continued = std::move(*job->mutable_resolved_spec()->mutable_fine_tune());
  }
  return absl::OkStatus();
}

// An earlier build did not keep it beside the adapter; the adapter's graft.json has it.
absl::Status FillTrainedWith(const BlobStore& blobs, v1::Adapter& adapter) {
  if (adapter.has_trained_with()) return absl::OkStatus();
  for (const v1::Artifact& file : adapter.files()) {
    if (file.path() != kGraftJson) continue;
    ASSIGN_OR_RETURN(const std::string text, blobs.Get(file.sha256(), kMaxGraftJsonBytes));
    absl::StatusOr<v1::DataSpec> trained = TrainedWithOfGraftJson(text);
    if (!trained.ok()) {
      return Annotate(trained.status(), absl::StrCat("adapter ", adapter.name(), ": graft.json"));
    }
    *adapter.mutable_trained_with() = *std::move(trained);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Model> FindModel(JobStore& store, const SpecReference& reference) {
  return Explain(store.GetModel(reference.name), reference, "model", kReasonModelMissing,
                 [&] { return KnownNames(store.ListModels(kNamesInErrors, ""), "models"); });
}

absl::StatusOr<v1::Adapter> FindAdapter(JobStore& store, const SpecReference& reference) {
  return Explain(
      store.GetAdapter(reference.name), reference, "adapter", kReasonAdapterMissing,
      [&] { return KnownNames(store.ListAdapters({}, kNamesInErrors, ""), "adapters"); });
}

absl::StatusOr<v1::Dataset> FindDataset(JobStore& store, const SpecReference& reference) {
  return Explain(store.GetDataset(reference.name), reference, "data set", kReasonDatasetMissing,
                 [&] { return KnownNames(store.ListDatasets(kNamesInErrors, ""), "data sets"); });
}

absl::StatusOr<ResolvedFromStore> ResolveFromStore(const Catalogue& catalogue,
                                                   const v1::JobSpec& spec,
                                                   const SpecDefaults& defaults,
                                                   absl::string_view path) {
  const SpecReferences references = ReferencesOf(spec, path);
  const v1::DataSpec& data = spec.has_evaluate() ? spec.evaluate().data() : spec.fine_tune().data();
  Found found;
  RETURN_IF_ERROR(LookUp(catalogue.store, references, data, found));
  if (spec.has_evaluate()) {
    RETURN_IF_ERROR(FillTrainedWith(catalogue.blobs, found.adapter));
    for (v1::Adapter& adapter : found.adapters) {
      RETURN_IF_ERROR(FillTrainedWith(catalogue.blobs, adapter));
    }
  }
  const bool continues = spec.has_fine_tune() && ContinuesJob(spec.fine_tune());
  if (continues) {
    RETURN_IF_ERROR(FindContinued(catalogue.store, spec.fine_tune(), references.adapter, found));
  }
  SpecFacts facts;
  if (found.continued) facts.continued = &*found.continued;
  if (!found.model.name().empty()) facts.base_model = &found.model;
  if (!references.adapter.name.empty()) facts.adapter = &found.adapter;
  for (const v1::Adapter& adapter : found.adapters) facts.adapters.push_back(&adapter);
  if (!references.train.name.empty()) facts.train = &found.train;
  if (!references.validation.name.empty()) facts.validation = &found.validation;
  ResolvedFromStore resolved;
  Violations all = found.missing;
  if (found.missing.empty()) {
    absl::StatusOr<v1::JobSpec> result = ResolveSpec(spec, facts, defaults, path);
    if (!result.ok() && FieldViolationsOf(result.status()).empty()) return result.status();
    all.AddAll(result.status());
    if (result.ok()) resolved.spec = *std::move(result);
  }
  resolved.warnings = WarningsOf(resolved.spec, facts);
  resolved.missing_data = found.missing_data.ToStatus();
  if (all.empty()) return resolved;
  all.AddAll(resolved.missing_data);
  return all.ToStatus();
}

RequestKey RequestKeyOf(const google::protobuf::Message& request) {
  const google::protobuf::FieldDescriptor* field =
      request.GetDescriptor()->FindFieldByName("request_id");
  RequestKey key;
  key.id = request.GetReflection()->GetString(request, field);
  if (key.id.empty()) return key;
  const std::unique_ptr<google::protobuf::Message> body(request.New());
  body->CopyFrom(request);
  body->GetReflection()->ClearField(body.get(), field);
  std::string bytes = absl::StrCat(request.GetTypeName(), "\n");
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    // Maps must come in one order, or the same request would look like another.
    coded.SetSerializationDeterministic(true);
    body->SerializeToCodedStream(&coded);
  }
  key.body_sha256 = Sha256Hex(bytes);
  return key;
}

}  // namespace graft
