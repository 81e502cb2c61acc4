#include "worker/engine/run/local_facts.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/graft_json.h"
#include "common/formats/manifest.h"
#include "common/formats/model_folder.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/method.h"
#include "common/jobs/model_shape.h"
#include "common/jobs/trained_with.h"
#include "common/methods/adapter_files.h"
#include "worker/engine/data/row_stream.h"
#include "worker/engine/run/result_files.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {
namespace {

// A name that a spec may hold, made of a path's last part.
std::string NameOf(const std::string& path) {
  const std::filesystem::path absolute = std::filesystem::path(path).lexically_normal();
  std::string name = absolute.filename().string();
  if (name.empty()) name = absolute.parent_path().filename().string();
  for (char& c : name) {
    const auto u = static_cast<unsigned char>(c);
    if (!std::isalnum(u) && c != '.' && c != '_' && c != '-') c = '_';
  }
  while (!name.empty() && name[0] == '.') name.erase(0, 1);
  if (name.size() > kMaxNameBytes) name.resize(kMaxNameBytes);
  return name.empty() ? "unnamed" : name;
}

std::string AbsolutePath(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path absolute = std::filesystem::absolute(path, ignored);
  return ignored ? path : absolute.lexically_normal().string();
}

// The flag's path, or what the spec says; then the spec gets a name. Returns the absolute path.
std::string TakePath(const std::string& flag, std::string* in_spec) {
  const std::string path = flag.empty() ? *in_spec : flag;
  if (path.empty()) return path;
  *in_spec = NameOf(path);
  return AbsolutePath(path);
}

// The same for EvaluateSpec.adapters: each run leaves a folder of the name "adapter".
std::vector<std::string> TakeAdapterPaths(v1::EvaluateSpec& spec) {
  std::map<std::string, int> named;
  for (const std::string& path : spec.adapters()) ++named[NameOf(path)];
  std::vector<std::string> paths;
  for (std::string& adapter : *spec.mutable_adapters()) {
    std::filesystem::path path = AbsolutePath(adapter);
    if (!path.has_filename()) path = path.parent_path();  // It ended with a slash.
    const std::string last = path.filename().string();
    const std::string parent = path.parent_path().filename().string();
    adapter = NameOf(named[NameOf(adapter)] == 1 ? last : absl::StrCat(parent, "_", last));
    paths.push_back(path.string());
  }
  return paths;
}

absl::StatusOr<v1::Model> ModelFacts(const std::string& directory, const std::string& name,
                                     const Gpt2Config& config) {
  ASSIGN_OR_RETURN(const ModelManifest manifest, MakeModelManifest(directory));
  v1::Model model;
  model.set_name(name);
  model.set_sha256(manifest.sha256);
  SetShape(config, &model);
  return model;
}

// Fields are checked row by row when the data are read, so those that are asked for are taken to
// be there; rows are counted only where the spec's meaning depends on their number.
absl::StatusOr<v1::Dataset> DatasetFacts(const std::string& path, const std::string& name,
                                         const v1::DataSpec& data, bool count_rows) {
  v1::Dataset dataset;
  dataset.set_name(name);
  ASSIGN_OR_RETURN(*dataset.mutable_sha256(), Sha256HexOfFile(path));
  const DataConfig config = ToDataConfig(data);
  if (config.text_field.empty()) {
    dataset.add_fields(config.source_field);
    dataset.add_fields(config.target_field);
  } else {
    dataset.add_fields(config.text_field);
  }
  dataset.set_num_rows(1);
  if (count_rows) {
    ASSIGN_OR_RETURN(RowStream rows, RowStream::Open({path, "", name}, config));
    DataRow row;
    for (bool more = true; more;) {
      ASSIGN_OR_RETURN(more, rows.Next(&row));
    }
    dataset.set_num_rows(rows.rows());
  }
  return dataset;
}

absl::StatusOr<std::string> DirectorySha256(const std::string& directory) {
  std::vector<ManifestFile> files;
  std::vector<std::string> parts = {""};
  for (const char* part : kAdapterDirectories) parts.push_back(absl::StrCat(part, "/"));
  for (const std::string& part : parts) {
    for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
      const std::string path = absl::StrCat(part, name);
      if (!FileExists(JoinPath(directory, path))) continue;
      ASSIGN_OR_RETURN(ManifestFile file, DescribeFile(directory, path));
      files.push_back(std::move(file));
    }
  }
  if (files.empty()) {
    return absl::NotFoundError(absl::StrCat(directory, ": no adapter_config.json"));
  }
  return ManifestSha256(files);
}

absl::StatusOr<v1::Adapter> AdapterFacts(const std::string& directory, const std::string& name,
                                         const v1::Model& model, const Gpt2Config& gpt2) {
  v1::Adapter adapter;
  adapter.set_name(name);
  ASSIGN_OR_RETURN(*adapter.mutable_sha256(), DirectorySha256(directory));
  adapter.set_base_model(model.name());
  adapter.set_base_model_sha256(model.sha256());
  ASSIGN_OR_RETURN(const AdapterFolder folder, AdapterFolder::Open(directory, gpt2));
  AdapterMethod method = MethodOfAdapter(folder.parts(), gpt2);
  *adapter.mutable_method() = std::move(method.method);
  adapter.set_init_from_error(std::move(method.init_from_error));
  ASSIGN_OR_RETURN(*adapter.mutable_trained_with(),
                   ReadTrainedWith(JoinPath(directory, kGraftJson)));
  return adapter;
}

}  // namespace

absl::StatusOr<LocalJob> ResolveLocally(const StandaloneOptions& options) {
  LocalJob job;
  v1::JobSpec spec = options.spec;
  const bool evaluate = spec.has_evaluate();
  v1::DataSpec& data = evaluate ? *spec.mutable_evaluate()->mutable_data()
                                : *spec.mutable_fine_tune()->mutable_data();
  job.base_model =
      TakePath(options.base_model, evaluate ? spec.mutable_evaluate()->mutable_base_model()
                                            : spec.mutable_fine_tune()->mutable_base_model());
  job.adapter = TakePath(options.adapter, evaluate ? spec.mutable_evaluate()->mutable_adapter()
                                                   : spec.mutable_fine_tune()->mutable_init_from());
  if (!evaluate) job.train = TakePath(options.train, data.mutable_train());
  if (!options.validation.empty() || data.has_validation()) {
    job.validation = TakePath(options.validation, data.mutable_validation());
  }
  if (!evaluate && spec.fine_tune().output_name().empty()) {
    spec.mutable_fine_tune()->set_output_name(NameOf(options.output));
  }
  if (evaluate) job.adapters = TakeAdapterPaths(*spec.mutable_evaluate());
  RETURN_IF_ERROR(ValidateSpec(spec, "spec"));

  SpecFacts facts;
  ASSIGN_OR_RETURN(const ModelFolder folder, ModelFolder::Open(job.base_model));
  const SpecReferences names = ReferencesOf(spec, "");
  ASSIGN_OR_RETURN(const v1::Model model,
                   ModelFacts(job.base_model, names.base_model.name, folder.config()));
  facts.base_model = &model;
  v1::Adapter adapter;
  if (!job.adapter.empty()) {
    ASSIGN_OR_RETURN(adapter,
                     AdapterFacts(job.adapter, names.adapter.name, model, folder.config()));
    facts.adapter = &adapter;
  }
  std::vector<v1::Adapter> adapters;
  for (size_t i = 0; i < job.adapters.size(); ++i) {
    ASSIGN_OR_RETURN(adapters.emplace_back(),
                     AdapterFacts(job.adapters[i], names.adapters[i].name, model, folder.config()));
  }
  for (const v1::Adapter& one : adapters) facts.adapters.push_back(&one);
  v1::Dataset train, validation;
  if (!job.train.empty()) {
    ASSIGN_OR_RETURN(train,
                     DatasetFacts(job.train, data.train(), data, data.has_validation_fraction()));
    facts.train = &train;
  }
  if (!job.validation.empty()) {
    ASSIGN_OR_RETURN(validation, DatasetFacts(job.validation, data.validation(), data, false));
    facts.validation = &validation;
  }
  ASSIGN_OR_RETURN(job.resolved, ResolveSpec(spec, facts, {options.threads}, "spec"));
  job.warnings = WarningsOf(job.resolved, facts);
  return job;
}

}  // namespace graft
