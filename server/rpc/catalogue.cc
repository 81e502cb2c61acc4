#include "server/rpc/catalogue.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/jobs/status_details.h"
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

// NOT_FOUND that keeps its code but says where the name stands. `known` is only called then.
template <typename T, typename Known>
absl::StatusOr<T> Explain(absl::StatusOr<T> found, const SpecReference& reference,
                          absl::string_view what, const Known& known) {
  if (!absl::IsNotFound(found.status())) return found;
  const std::string description =
      absl::StrCat("there is no ", what, " \"", reference.name, "\"", known());
  const absl::Status violation = FieldViolation(reference.field, description);
  absl::Status status = absl::NotFoundError(violation.message());
  violation.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { status.SetPayload(url, payload); });
  return status;
}

}  // namespace

absl::StatusOr<v1::Model> FindModel(JobStore& store, const SpecReference& reference) {
  return Explain(store.GetModel(reference.name), reference, "model",
                 [&] { return KnownNames(store.ListModels(kNamesInErrors, ""), "models"); });
}

absl::StatusOr<v1::Adapter> FindAdapter(JobStore& store, const SpecReference& reference) {
  return Explain(store.GetAdapter(reference.name), reference, "adapter", [&] {
    return KnownNames(store.ListAdapters({}, kNamesInErrors, ""), "adapters");
  });
}

absl::StatusOr<v1::Dataset> FindDataset(JobStore& store, const SpecReference& reference) {
  return Explain(store.GetDataset(reference.name), reference, "data set",
                 [&] { return KnownNames(store.ListDatasets(kNamesInErrors, ""), "data sets"); });
}

absl::StatusOr<v1::JobSpec> ResolveFromStore(JobStore& store, const v1::JobSpec& spec,
                                             const SpecDefaults& defaults, absl::string_view path) {
  SpecReferences references = ReferencesOf(spec, path);
  SpecFacts facts;
  v1::Adapter adapter;
  if (!references.adapter.name.empty()) {
    ASSIGN_OR_RETURN(adapter, FindAdapter(store, references.adapter));
    facts.adapter = &adapter;
    if (references.base_model.name.empty()) references.base_model.name = adapter.base_model();
  }
  v1::Model model;
  if (!references.base_model.name.empty()) {
    ASSIGN_OR_RETURN(model, FindModel(store, references.base_model));
    facts.base_model = &model;
  }
  v1::Dataset train;
  if (!references.train.name.empty()) {
    ASSIGN_OR_RETURN(train, FindDataset(store, references.train));
    facts.train = &train;
  }
  v1::Dataset validation;
  if (!references.validation.name.empty()) {
    ASSIGN_OR_RETURN(validation, FindDataset(store, references.validation));
    facts.validation = &validation;
  }
  return ResolveSpec(spec, facts, defaults, path);
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
