#include "worker/engine/run/result_files.h"

#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "common/formats/graft_json.h"
#include "common/jobs/trained_with.h"
#include "common/methods/adapter_files.h"
#include "common/methods/method_spec.h"
#include "worker/engine/run/build_info.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {
namespace {

// Keeps the order in which fields are written.
using Json = nlohmann::ordered_json;

constexpr int kIndent = 2;
constexpr char kPeftConfig[] = "adapter_config.json";

Json MessageJson(const google::protobuf::Message& message) {
  return Json::parse(ToJson(message, false));
}

Json ExecutionJson(const std::string& device, const std::string& precision, int threads) {
  return {{"device", device},
          {"precision", precision},
          {"threads", threads},
          {"cpu_capability", EngineSession::CpuCapability()}};
}

Json BuildJson() {
  return {{"code_sha256", std::string(kCodeSha256)},
          {"libtorch", std::string(kLibTorchVersion)},
          {"compiler", std::string(kCompiler)}};
}

Json DataJson(const v1::DataSpec& data) {
  Json json = Json::object();
  if (!data.train().empty()) {
    json["train"] = {{"name", data.train()}, {"sha256", data.train_sha256()}};
  }
  if (!data.validation().empty()) {
    json["validation"] = {{"name", data.validation()}, {"sha256", data.validation_sha256()}};
  }
  if (data.has_validation_fraction()) json["validation_fraction"] = data.validation_fraction();
  return json;
}

Json FilesJson(const engine::v1::Finished& finished) {
  Json files = Json::array();
  for (const v1::Artifact& file : finished.output()) {
    files.push_back(
        {{"path", file.path()}, {"size_bytes", file.size_bytes()}, {"sha256", file.sha256()}});
  }
  return files;
}

}  // namespace

std::vector<std::string> PeftDirectories(const engine::v1::Finished& finished) {
  std::vector<std::string> directories;
  const auto add = [&](const std::string& directory, const std::string& config) {
    for (const v1::Artifact& file : finished.output()) {
      if (file.path() == config) directories.push_back(directory);
    }
  };
  add("", kPeftConfig);
  for (const char* directory : kAdapterDirectories)
    add(directory, JoinPath(directory, kPeftConfig));
  return directories;
}

std::string GraftJson(const engine::v1::Run& run, const FineTuneOutcome& outcome,
                      const engine::v1::Finished& finished) {
  const v1::FineTuneSpec& spec = run.resolved_spec().fine_tune();
  Json json;
  json["graft_format"] = 1;
  json["kind"] = MakesModel(spec.method()) ? "model" : "adapter";
  json["name"] = spec.output_name();
  json["display_name"] = run.display_name();
  json["engine_version"] = std::string(kVersion);
  json["build"] = BuildJson();
  json["base_model"] = {{"name", spec.base_model()}, {"sha256", spec.base_model_sha256()}};
  json["data"] = DataJson(spec.data());
  Json lineage = Json::object();
  if (!spec.init_from().empty()) {
    lineage["init_from"] = {{"name", spec.init_from()}, {"sha256", spec.init_from_sha256()}};
  }
  json["lineage"] = lineage;
  json["execution"] = ExecutionJson(outcome.device, outcome.precision, outcome.threads);
  json["result"] = {{"steps", outcome.steps},
                    {"best_step", outcome.best_step},
                    {"stopped_early", outcome.stopped_early},
                    {"trainable_parameters", outcome.trainable_parameters},
                    {"train_seconds", outcome.seconds},
                    {"metrics", outcome.best.values}};
  if (outcome.best.num_samples > 0) {
    json["result"]["fingerprint"] = MessageJson(FingerprintOf(outcome.best));
  }
  if (!MakesModel(spec.method())) json["load_order"] = PeftDirectories(finished);
  json["files"] = FilesJson(finished);
  json["resolved_spec"] = MessageJson(run.resolved_spec());
  return json.dump(kIndent) + "\n";
}

std::string ResultsJson(const engine::v1::Run& run, const EvaluateOutcome& outcome,
                        std::optional<int> of_several) {
  const v1::EvaluateSpec& spec = run.resolved_spec().evaluate();
  const std::string& adapter = of_several ? spec.adapters(*of_several) : spec.adapter();
  const EvaluationEvent& result =
      of_several ? outcome.adapters[static_cast<size_t>(*of_several)].result : outcome.result;
  Json json;
  json["graft_format"] = 1;
  json["display_name"] = run.display_name();
  json["engine_version"] = std::string(kVersion);
  json["build"] = BuildJson();
  json["base_model"] = {{"name", spec.base_model()}, {"sha256", spec.base_model_sha256()}};
  if (!adapter.empty()) {
    json["adapter"] = {
        {"name", adapter},
        {"sha256", of_several ? spec.adapters_sha256(*of_several) : spec.adapter_sha256()}};
  }
  json["data"] = DataJson(spec.data());
  json["execution"] = ExecutionJson(outcome.device, outcome.precision, outcome.threads);
  json["metrics"] = result.values;
  json["num_samples"] = result.num_samples;
  json["num_loss_tokens"] = result.num_loss_tokens;
  json["seconds"] = outcome.seconds;
  if (result.num_samples > 0) json["fingerprint"] = MessageJson(FingerprintOf(result));
  json["resolved_spec"] = MessageJson(run.resolved_spec());
  return json.dump(kIndent) + "\n";
}

absl::StatusOr<v1::JobSpec> ReadResolvedSpec(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxGraftJsonBytes));
  const absl::StatusOr<nlohmann::json> json = ParseJson(text);
  if (!json.ok()) return Annotate(json.status(), path);
  v1::JobSpec spec;
  const auto found = json->find("resolved_spec");
  if (found == json->end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has no resolved_spec"));
  }
  RETURN_IF_ERROR(Annotate(FromJson(found->dump(), &spec), absl::StrCat(path, ": resolved_spec")));
  return spec;
}

absl::StatusOr<std::string> PromptTemplateOf(const std::string& adapter_directory) {
  v1::DataSpec trained;
  if (!adapter_directory.empty()) {
    ASSIGN_OR_RETURN(trained, ReadTrainedWith(JoinPath(adapter_directory, kGraftJson)));
  }
  return trained.has_prompt_template() ? trained.prompt_template() : DataConfig().prompt_template;
}

std::string ToJson(const google::protobuf::Message& message, bool pretty) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.add_whitespace = pretty;
  std::string json;
  // It fails only for values of google.protobuf.Any, of which there are none here.
  (void)google::protobuf::util::MessageToJsonString(message, &json, options);
  return json;
}

absl::Status FromJson(const std::string& json, google::protobuf::Message* message) {
  const auto status = google::protobuf::util::JsonStringToMessage(json, message);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(std::string(status.message()));
}

}  // namespace graft
