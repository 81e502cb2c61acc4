#include "client/cli/job_file.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/jobs/message_json.h"
#include "common/jobs/names.h"
#include "common/studies/field_path.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"
#include "yaml-cpp/yaml.h"

namespace graft {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::json;

constexpr int64_t kMaxJobFileBytes = 1 << 20;
// What a client says of a job; the rest of graft.v1.Job is the server's.
constexpr absl::string_view kClientFields[] = {"display_name", "labels",       "priority",
                                               "study",        "deadline",     "allow_migration",
                                               "spec",         "resolved_spec"};
constexpr absl::string_view kTasks[] = {"fine_tune", "fineTune", "evaluate"};

// YAML's scalars have no type of their own; quoted ones are strings, the rest is what JSON would
// call it.
json FromYaml(const YAML::Node& node) {
  if (node.IsMap()) {
    json object = json::object();
    for (const auto& entry : node) object[entry.first.as<std::string>()] = FromYaml(entry.second);
    return object;
  }
  if (node.IsSequence()) {
    json array = json::array();
    for (const auto& entry : node) array.push_back(FromYaml(entry));
    return array;
  }
  if (node.IsNull()) return nullptr;
  const std::string text = node.as<std::string>();
  if (node.Tag() != "!") {
    int64_t whole;
    double number;
    if (absl::SimpleAtoi(text, &whole)) return whole;
    if (text == "true" || text == "false") return text == "true";
    if (absl::SimpleAtod(text, &number)) return number;
  }
  return text;
}

absl::StatusOr<json> ParseYaml(const std::string& yaml) {
  try {
    json value = FromYaml(YAML::Load(yaml));
    (void)value.dump();  // Only this looks whether it is UTF-8.
    return value;
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("line ", error.mark.line + 1, ": ", error.msg));
  } catch (const json::exception&) {
    return absl::InvalidArgumentError("is not UTF-8");
  }
}

absl::StatusOr<json> ParseJson(const std::string& text) {
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 3, column 5: ..."
    const absl::string_view message = error.what();
    const size_t begin = message.find("] ");
    return absl::InvalidArgumentError(begin == absl::string_view::npos ? message
                                                                       : message.substr(begin + 2));
  }
}

// A Job with what a client says of it, and a spec however it stood in the file.
absl::StatusOr<json> JobOf(json file, std::string* spec_path) {
  if (!file.is_object()) {
    return absl::InvalidArgumentError("must be a job: {\"spec\": {\"fine_tune\": {...}}}");
  }
  if (std::any_of(std::begin(kTasks), std::end(kTasks),
                  [&](absl::string_view task) { return file.contains(std::string(task)); })) {
    spec_path->clear();
    return json{{"spec", std::move(file)}};
  }
  const Descriptor& type = *v1::Job::descriptor();
  json job = json::object();
  for (auto& [key, value] : file.items()) {
    const FieldDescriptor* field = FindJsonField(type, key);
    if (field == nullptr) return NoSuchField(type, key, "");
    if (std::find(std::begin(kClientFields), std::end(kClientFields), field->name()) !=
        std::end(kClientFields)) {
      job[field->name()] = std::move(value);
    }
  }
  const bool resolved_only = !job.contains("spec") && job.contains("resolved_spec");
  *spec_path = resolved_only ? "resolved_spec" : "spec";
  if (resolved_only) job["spec"] = std::move(job["resolved_spec"]);
  job.erase("resolved_spec");
  return job;
}

absl::StatusOr<JobFile> Parse(const std::string& path, const std::string& text) {
  const bool yaml = absl::EndsWith(path, ".yaml") || absl::EndsWith(path, ".yml");
  ASSIGN_OR_RETURN(json file, yaml ? ParseYaml(text) : ParseJson(text));
  const std::string name = file.is_object() && file.contains("name") ? file["name"].dump() : "";
  JobFile result;
  ASSIGN_OR_RETURN(json job, JobOf(std::move(file), &result.spec_path));
  if (job.contains("spec") && job["spec"].is_object()) {
    RETURN_IF_ERROR(MakeExactJson(*v1::JobSpec::descriptor(), result.spec_path, job["spec"]));
  }
  const auto parsed = google::protobuf::util::JsonStringToMessage(job.dump(), &result.job);
  if (!parsed.ok()) return absl::InvalidArgumentError(std::string(parsed.message()));
  if (!result.job.has_spec()) return result;
  v1::JobSpec& spec = *result.job.mutable_spec();
  ClearResolution(spec);
  // Resolution names an adapter after its job where nobody else has; a new job has its own.
  const std::string& output = spec.fine_tune().output_name();
  if (result.spec_path == "resolved_spec" && name == absl::StrCat("\"", JobName(output), "\"")) {
    spec.mutable_fine_tune()->clear_output_name();
  }
  return result;
}

}  // namespace

void ClearResolution(v1::JobSpec& spec) {
  for (const char* path :
       {"fine_tune.base_model_sha256", "fine_tune.init_from_sha256", "fine_tune.data.train_sha256",
        "fine_tune.data.validation_sha256", "evaluate.base_model_sha256", "evaluate.adapter_sha256",
        "evaluate.data.train_sha256", "evaluate.data.validation_sha256"}) {
    ClearField(spec, path);
  }
}

absl::StatusOr<JobFile> ReadJobFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxJobFileBytes));
  absl::StatusOr<JobFile> file = Parse(path, text);
  if (!file.ok()) return Annotate(file.status(), path);
  return file;
}

}  // namespace graft
