#include "server/serving/generation_request.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/names.h"
#include "common/jobs/spec_checks.h"
#include "server/catalogue/lease_inputs.h"
#include "server/catalogue/lookup.h"

namespace graft {
namespace {

absl::Status CheckRequest(const v1::GenerateRequest& request) {
  Violations violations;
  if (request.base_model().empty() && request.adapter().empty()) {
    violations.Add("base_model", "must be set when there is no adapter");
  }
  if (request.prompt().empty()) violations.Add("prompt", "must not be empty");
  if (request.prompt().size() > kMaxPromptBytes) {
    violations.Add("prompt", absl::StrCat("has more than ", kMaxPromptBytes, " bytes"));
  }
  if (request.has_max_new_tokens() && request.max_new_tokens() < 1) {
    violations.Add("max_new_tokens", "must be at least 1");
  }
  CheckGeneration(request.generation(), FieldScope(violations, "generation"));
  return violations.ToStatus();
}

// What is left open the engine decides: it knows the rule for short models.
absl::Status CheckRoom(const v1::GenerateRequest& request, const v1::Model& model,
                       int virtual_tokens) {
  const int room = model.n_positions() - virtual_tokens;
  const std::string positions =
      absl::StrCat(model.name(), " has ", model.n_positions(), " positions",
                   virtual_tokens == 0
                       ? ""
                       : absl::StrCat(", less the adapter's ", virtual_tokens, " virtual tokens"));
  if (room < 2) {
    return FieldViolation(virtual_tokens == 0 ? "base_model" : "adapter",
                          absl::StrCat(positions, ": a prompt and what follows it need 2"));
  }
  if (request.max_new_tokens() < room) return absl::OkStatus();
  return FieldViolation("max_new_tokens",
                        absl::StrCat("is ", request.max_new_tokens(), "; ", positions,
                                     ", for the prompt and what follows; must be 1 to ", room - 1));
}

}  // namespace

absl::StatusOr<worker::v1::Command::Generate> ResolveGeneration(
    JobStore& store, const v1::GenerateRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  worker::v1::Command::Generate command;
  *command.mutable_request() = request;
  std::optional<v1::Adapter> adapter;
  if (!request.adapter().empty()) {
    RETURN_IF_ERROR(ValidateName(request.adapter(), "adapter"));
    ASSIGN_OR_RETURN(adapter, FindAdapter(store, {request.adapter(), "adapter"}));
    if (request.base_model().empty()) {
      command.mutable_request()->set_base_model(adapter->base_model());
    }
    *command.mutable_adapter() = FilesOf(*adapter);
  }
  const std::string& base = command.request().base_model();
  RETURN_IF_ERROR(ValidateName(base, "base_model"));
  ASSIGN_OR_RETURN(const v1::Model model, FindModel(store, {base, "base_model"}));
  if (adapter.has_value() && model.sha256() != adapter->base_model_sha256()) {
    return FieldViolation("base_model",
                          absl::StrCat("adapter \"", adapter->name(), "\" belongs to model \"",
                                       adapter->base_model(), "\""));
  }
  RETURN_IF_ERROR(
      CheckRoom(request, model, adapter.has_value() ? NumVirtualTokens(adapter->method()) : 0));
  *command.mutable_base_model() = FilesOf(model);
  return command;
}

}  // namespace graft
