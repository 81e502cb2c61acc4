#include "server/store/catalogue_verbs.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"

namespace graft {
namespace {

HolderKind HolderOf(ResourceKind kind) {
  switch (kind) {
    case ResourceKind::kDataset:
      return HolderKind::kDataset;
    case ResourceKind::kModel:
      return HolderKind::kModel;
    case ResourceKind::kAdapter:
      return HolderKind::kAdapter;
    case ResourceKind::kJob:
      return HolderKind::kJob;
  }
  return HolderKind::kDataset;
}

template <typename T>
absl::StatusOr<T> Parse(const ResourceRow& row) {
  T message;
  if (message.ParseFromString(row.message)) return message;
  return absl::DataLossError(absl::StrCat("the row of the ", KindName(row.ref.kind), " ",
                                          row.ref.name, " does not parse"));
}

std::vector<v1::Artifact> FilesOf(const v1::Dataset& dataset) {
  v1::Artifact file;
  file.set_path(dataset.name());
  file.set_size_bytes(dataset.size_bytes());
  file.set_sha256(dataset.sha256());
  return {file};
}
template <typename T>
std::vector<v1::Artifact> FilesOf(const T& resource) {
  return {resource.files().begin(), resource.files().end()};
}

absl::Status NameTaken(const ResourceRef& ref, absl::string_view why) {
  return WithReason(
      absl::AlreadyExistsError(absl::StrCat("the ", KindName(ref.kind), " ", ref.name, " ", why)),
      kReasonNameTaken);
}

template <typename T>
absl::Status Store(VerbContext& context, ResourceRow row, T message) {
  *message.mutable_create_time() = ToTimestamp(context.Now());
  row.message = message.SerializeAsString();
  RETURN_IF_ERROR(context.tables.InsertResource(row));
  return context.tables.PutFiles(HolderOf(row.ref.kind), row.ref.name, FilesOf(message));
}

constexpr int kMostNamers = 5;

absl::StatusOr<std::string> NameOf(VerbContext& context, const Tables::Namer& namer) {
  switch (namer.kind) {
    case HolderKind::kDataset:
      return absl::StrCat(KindName(ResourceKind::kDataset), " ", namer.holder);
    case HolderKind::kModel:
      return absl::StrCat(KindName(ResourceKind::kModel), " ", namer.holder, ": ", namer.path);
    case HolderKind::kAdapter:
      return absl::StrCat(KindName(ResourceKind::kAdapter), " ", namer.holder, ": ", namer.path);
    case HolderKind::kJob:
    case HolderKind::kCheckpoint:
      break;
  }
  const std::vector<std::string> job_and_step = absl::StrSplit(namer.holder, '/');
  int64_t number = 0;
  if (!absl::SimpleAtoi(job_and_step[0], &number)) return namer.path;
  ASSIGN_OR_RETURN(const auto row, context.tables.FindJob(number));
  const std::string job = row ? row->job.name() : absl::StrCat("job ", number);
  const std::string step =
      job_and_step.size() > 1 ? absl::StrCat("/checkpoints/", job_and_step[1]) : "";
  return absl::StrCat(job, step, ": ", namer.path);
}

// How something of the same name and content is still another thing; "" when it is not.
std::string Difference(const v1::Dataset& stored, const v1::Dataset& given) {
  return stored.format() == given.format()
             ? ""
             : absl::StrCat("as ", v1::DatasetFormat_Name(stored.format()));
}
std::string Difference(const v1::Model&, const v1::Model&) { return ""; }
std::string Difference(const v1::Adapter& stored, const v1::Adapter& given) {
  if (stored.base_model() == given.base_model() &&
      stored.base_model_sha256() == given.base_model_sha256()) {
    return "";
  }
  return absl::StrCat("for the base model ", stored.base_model(), " (", stored.base_model_sha256(),
                      ")");
}

// Inserts what people bring; the same again is what is there.
template <typename T>
absl::StatusOr<T> Insert(VerbContext& context, ResourceRow row, const T& message) {
  RETURN_IF_ERROR(ValidateName(row.ref.name, "name"));
  ASSIGN_OR_RETURN(const auto present, context.tables.FindResource(row.ref));
  if (present) {
    if (present->sha256 != row.sha256) {
      return NameTaken(row.ref, "is there already, with other content");
    }
    ASSIGN_OR_RETURN(T stored, Parse<T>(*present));
    const std::string difference = Difference(stored, message);
    if (difference.empty()) return stored;
    return NameTaken(row.ref, absl::StrCat("is there already, ", difference));
  }
  ASSIGN_OR_RETURN(const auto publisher, context.tables.FindPublisher(row.ref));
  if (publisher) return NameTaken(row.ref, absl::StrCat("will be published by ", *publisher));
  const ResourceRef ref = row.ref;
  RETURN_IF_ERROR(Store(context, std::move(row), message));
  return DoGetResource<T>(context, ref);
}

ResourceRow NewRow(ResourceKind kind, const std::string& name, const std::string& sha256) {
  ResourceRow row;
  row.ref.kind = kind;
  row.ref.name = name;
  row.sha256 = sha256;
  return row;
}
ResourceRow RowOf(const v1::Dataset& dataset) {
  return NewRow(ResourceKind::kDataset, dataset.name(), dataset.sha256());
}
ResourceRow RowOf(const v1::Model& model) {
  ResourceRow row = NewRow(ResourceKind::kModel, model.name(), model.sha256());
  row.job = model.job();
  return row;
}
ResourceRow RowOf(const v1::Adapter& adapter) {
  ResourceRow row = NewRow(ResourceKind::kAdapter, adapter.name(), adapter.sha256());
  row.base_model = adapter.base_model();
  row.job = adapter.job();
  return row;
}

template <typename T>
absl::Status Publish(VerbContext& context, const T& message) {
  ResourceRow row = RowOf(message);
  ASSIGN_OR_RETURN(const auto present, context.tables.FindResource(row.ref));
  if (present) return NameTaken(row.ref, "is there already");
  return Store(context, std::move(row), message);
}

}  // namespace

const char* KindName(ResourceKind kind) {
  switch (kind) {
    case ResourceKind::kDataset:
      return "data set";
    case ResourceKind::kModel:
      return "model";
    case ResourceKind::kAdapter:
      return "adapter";
    case ResourceKind::kJob:
      return "job";
  }
  return "";
}

absl::StatusOr<ResourceRow> RequireResource(VerbContext& context, const ResourceRef& ref) {
  ASSIGN_OR_RETURN(std::optional<ResourceRow> row, context.tables.FindResource(ref));
  if (row) return *std::move(row);
  return absl::NotFoundError(absl::StrCat("there is no ", KindName(ref.kind), " ", ref.name));
}

absl::Status CheckUnused(VerbContext& context, const ResourceRef& ref) {
  ASSIGN_OR_RETURN(std::optional<std::string> user, context.tables.FindUser(ref));
  if (!user && ref.kind == ResourceKind::kModel) {
    AdapterFilter filter;
    filter.base_model = ref.name;
    ASSIGN_OR_RETURN(const auto adapters,
                     context.tables.ListResources(ResourceKind::kAdapter, filter, "", 1));
    if (!adapters.empty()) user = absl::StrCat("the adapter ", adapters[0].ref.name);
  }
  if (!user) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError(absl::StrCat("the ", KindName(ref.kind), " ",
                                                               ref.name, " is used by ", *user)),
                    kReasonInUse);
}

absl::Status DoDeleteResource(VerbContext& context, const ResourceRef& ref) {
  RETURN_IF_ERROR(RequireResource(context, ref).status());
  RETURN_IF_ERROR(CheckUnused(context, ref));
  RETURN_IF_ERROR(context.tables.PutFiles(HolderOf(ref.kind), ref.name, {}));
  return context.tables.DeleteResource(ref);
}

absl::StatusOr<v1::Dataset> DoInsertDataset(VerbContext& context, const v1::Dataset& dataset) {
  return Insert(context, RowOf(dataset), dataset);
}
absl::StatusOr<v1::Model> DoInsertModel(VerbContext& context, const v1::Model& model) {
  return Insert(context, RowOf(model), model);
}
absl::StatusOr<v1::Model> DoReplaceModel(VerbContext& context, absl::string_view sha256,
                                         const v1::Model& model) {
  const ResourceRef ref = {ResourceKind::kModel, model.name()};
  ASSIGN_OR_RETURN(const ResourceRow present, RequireResource(context, ref));
  if (present.sha256 != sha256) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat("the model ", model.name(), " has other content")),
                      kReasonVersionChanged);
  }
  RETURN_IF_ERROR(DoDeleteResource(context, ref));
  return DoInsertModel(context, model);
}
absl::StatusOr<v1::Adapter> DoInsertAdapter(VerbContext& context, const v1::Adapter& adapter) {
  RETURN_IF_ERROR(RequireResource(context, {ResourceKind::kModel, adapter.base_model()}).status());
  return Insert(context, RowOf(adapter), adapter);
}

absl::Status PublishModel(VerbContext& context, const v1::Model& model) {
  return Publish(context, model);
}
absl::Status PublishAdapter(VerbContext& context, const v1::Adapter& adapter) {
  return Publish(context, adapter);
}

absl::StatusOr<std::vector<std::string>> DoNamersOf(VerbContext& context,
                                                    absl::string_view sha256) {
  ASSIGN_OR_RETURN(const auto namers, context.tables.ListNamers(sha256, kMostNamers));
  std::vector<std::string> names;
  for (const Tables::Namer& namer : namers) {
    ASSIGN_OR_RETURN(names.emplace_back(), NameOf(context, namer));
  }
  return names;
}

template <typename T>
absl::StatusOr<T> DoGetResource(VerbContext& context, const ResourceRef& ref) {
  RETURN_IF_ERROR(ValidateName(ref.name, "name"));
  ASSIGN_OR_RETURN(const ResourceRow row, RequireResource(context, ref));
  return Parse<T>(row);
}

template <typename T>
absl::StatusOr<Page<T>> DoListResources(VerbContext& context, ResourceKind kind,
                                        const AdapterFilter& filter, int page_size,
                                        absl::string_view page_token) {
  ASSIGN_OR_RETURN(const int size, EffectivePageSize(page_size));
  const std::string query =
      absl::StrCat("resources", static_cast<int>(kind), "\n", filter.base_model.value_or("*"), "\n",
                   filter.job.value_or("*"));
  std::string after;
  if (!page_token.empty()) {
    ASSIGN_OR_RETURN(const auto parts, ReadPageToken(query, page_token, 1));
    after = parts[0];
  }
  ASSIGN_OR_RETURN(const auto rows, context.tables.ListResources(kind, filter, after, size + 1));
  Page<T> page;
  PageBounds bounds(size);
  for (const ResourceRow& row : rows) {
    if (!bounds.Add(row.message.size())) {
      page.next_page_token = MakePageToken(query, {page.items.back().name()});
      break;
    }
    ASSIGN_OR_RETURN(T message, Parse<T>(row));
    page.items.push_back(std::move(message));
  }
  return page;
}

#define GRAFT_INSTANTIATE(T)                                                     \
  template absl::StatusOr<T> DoGetResource<T>(VerbContext&, const ResourceRef&); \
  template absl::StatusOr<Page<T>> DoListResources<T>(                           \
      VerbContext&, ResourceKind, const AdapterFilter&, int, absl::string_view)
GRAFT_INSTANTIATE(v1::Dataset);
GRAFT_INSTANTIATE(v1::Model);
GRAFT_INSTANTIATE(v1::Adapter);
#undef GRAFT_INSTANTIATE

}  // namespace graft
