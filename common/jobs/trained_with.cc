#include "common/jobs/trained_with.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/graft_json.h"
#include "common/formats/json_util.h"
#include "common/jobs/spec_checks.h"

namespace graft {
namespace {

constexpr char kPath[] = "resolved_spec.fine_tune.data";

// 0 when it is not given.
int32_t Length(JsonFields& fields, absl::string_view name) {
  return static_cast<int32_t>(fields.Int(name, 0, 1, std::numeric_limits<int32_t>::max()));
}

absl::StatusOr<v1::DataSpec> FromJson(const nlohmann::json& json) {
  v1::DataSpec data;
  JsonFields fields(json);
  if (fields.Given("prompt_template")) {
    data.set_prompt_template(fields.String("prompt_template", ""));
  }
  const int32_t source = Length(fields, "max_source_tokens");
  const int32_t target = Length(fields, "max_target_tokens");
  RETURN_IF_ERROR(Annotate(fields.status(), kPath));
  if (source > 0) data.set_max_source_tokens(source);
  if (target > 0) data.set_max_target_tokens(target);
  Violations violations;
  if (data.has_prompt_template()) CheckTemplate(data, FieldScope(violations, kPath));
  RETURN_IF_ERROR(violations.ToStatus());
  return data;
}

}  // namespace

v1::DataSpec TrainedWith(const v1::DataSpec& resolved) {
  v1::DataSpec data;
  if (resolved.has_text_field()) return data;
  if (resolved.has_prompt_template()) data.set_prompt_template(resolved.prompt_template());
  if (resolved.has_max_source_tokens()) data.set_max_source_tokens(resolved.max_source_tokens());
  if (resolved.has_max_target_tokens()) data.set_max_target_tokens(resolved.max_target_tokens());
  return data;
}

absl::StatusOr<v1::DataSpec> TrainedWithOfGraftJson(absl::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(text));
  const nlohmann::json* data = &json;
  for (const char* member : {"resolved_spec", "fine_tune", "data"}) {
    const auto found = data->find(member);
    if (found == data->end() || !found->is_object()) return v1::DataSpec();
    data = &*found;
  }
  return FromJson(*data);
}

absl::StatusOr<v1::DataSpec> ReadTrainedWith(const std::string& graft_json_path) {
  if (!FileExists(graft_json_path)) return v1::DataSpec();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(graft_json_path, kMaxGraftJsonBytes));
  absl::StatusOr<v1::DataSpec> data = TrainedWithOfGraftJson(text);
  if (!data.ok()) return Annotate(data.status(), graft_json_path);
  return data;
}

}  // namespace graft
