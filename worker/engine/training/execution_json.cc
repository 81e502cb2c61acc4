#include "worker/engine/training/execution_json.h"

#include <nlohmann/json.hpp>

namespace graft {

nlohmann::json ExecutionToJson(const Execution& execution) {
  nlohmann::json json = {
      {"device", execution.device},       {"cpu_capability", execution.cpu_capability},
      {"precision", execution.precision}, {"threads", execution.threads},
      {"libtorch", execution.libtorch},   {"code_sha256", execution.code_sha256}};
  if (execution.batch_size > 0) json["batch_size"] = execution.batch_size;
  return json;
}

Execution ExecutionFromJson(const nlohmann::json& json) {
  Execution execution;
  execution.device = json.at("device");
  execution.cpu_capability = json.value("cpu_capability", "");
  execution.precision = json.at("precision");
  execution.threads = json.value("threads", 0);
  execution.libtorch = json.value("libtorch", "");
  execution.code_sha256 = json.value("code_sha256", "");
  execution.batch_size = json.value("batch_size", int64_t{0});
  return execution;
}

}  // namespace graft
