#include "server/rpc/generation_request.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "common/jobs/spec_checks.h"
#include "common/jobs/status_details.h"
#include "server/rpc/catalogue.h"
#include "server/rpc/lease_inputs.h"

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

}  // namespace

absl::StatusOr<worker::v1::Command::Generate> ResolveGeneration(
    JobStore& store, const v1::GenerateRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  worker::v1::Command::Generate command;
  *command.mutable_request() = request;
  if (!request.adapter().empty()) {
    RETURN_IF_ERROR(ValidateName(request.adapter(), "adapter"));
    ASSIGN_OR_RETURN(const v1::Adapter adapter, FindAdapter(store, {request.adapter(), "adapter"}));
    if (request.base_model().empty())
      command.mutable_request()->set_base_model(adapter.base_model());
    *command.mutable_adapter() = FilesOf(adapter);
    const std::string& base = command.request().base_model();
    ASSIGN_OR_RETURN(const v1::Model model, FindModel(store, {base, "base_model"}));
    if (model.sha256() != adapter.base_model_sha256()) {
      return FieldViolation("base_model",
                            absl::StrCat("adapter \"", adapter.name(), "\" belongs to model \"",
                                         adapter.base_model(), "\""));
    }
  }
  RETURN_IF_ERROR(ValidateName(command.request().base_model(), "base_model"));
  ASSIGN_OR_RETURN(const v1::Model model,
                   FindModel(store, {command.request().base_model(), "base_model"}));
  if (request.max_new_tokens() >= model.n_positions()) {
    return FieldViolation("max_new_tokens", absl::StrCat("must be less than the model's ",
                                                         model.n_positions(), " positions"));
  }
  *command.mutable_base_model() = FilesOf(model);
  return command;
}

}  // namespace graft
