#include "server/serving/generation_request.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/field_checks.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/names.h"
#include "common/jobs/spec_checks.h"
#include "server/catalogue/lease_inputs.h"
#include "server/catalogue/lookup.h"

namespace graft {
namespace {

using worker::v1::Command;

void CheckStopStrings(const v1::GenerateRequest& request, const FieldScope& scope) {
  if (request.stop_strings_size() > kMaxStopStrings) {
    scope.Add("stop_strings", absl::StrCat("has ", request.stop_strings_size(),
                                           " entries; at most ", kMaxStopStrings, " are allowed"));
  }
  for (int i = 0; i < request.stop_strings_size(); ++i) {
    const size_t bytes = request.stop_strings(i).size();
    scope.Require(bytes >= 1 && bytes <= kMaxStopStringBytes, absl::StrCat("stop_strings[", i, "]"),
                  absl::StrCat("has ", bytes, " bytes; must have 1 to ", kMaxStopStringBytes));
  }
}

absl::Status CheckRequest(const v1::GenerateRequest& request, absl::string_view path) {
  Violations violations;
  const FieldScope scope(violations, path);
  scope.Require(!request.base_model().empty() || !request.adapter().empty(), "base_model",
                "must be set when there is no adapter");
  scope.Require(!request.prompt().empty(), "prompt", "must not be empty");
  scope.Require(request.prompt().size() <= kMaxPromptBytes, "prompt",
                absl::StrCat("has more than ", kMaxPromptBytes, " bytes"));
  scope.Require(!request.has_max_new_tokens() || request.max_new_tokens() >= 1, "max_new_tokens",
                "must be at least 1");
  const v1::GenerationOptions& generation = request.generation();
  CheckGeneration(generation, scope.At("generation"));
  CheckStopStrings(request, scope);
  if (request.has_num_return_sequences()) {
    scope.Between("num_return_sequences", request.num_return_sequences(), 1, kMaxReturnSequences);
  }
  scope.Require(request.num_return_sequences() <= 1 || generation.do_sample(),
                "num_return_sequences",
                "must be 1 without generation.do_sample: all would be the same text");
  const bool beams = generation.num_beams() > 1;
  scope.Require(!beams || request.stop_strings().empty(), "stop_strings",
                "must be empty with beam search (generation.num_beams)");
  scope.Require(!beams || !request.log_probabilities(), "log_probabilities",
                "must be false with beam search (generation.num_beams)");
  return violations.ToStatus();
}

// What is left open the engine decides: it knows the rule for short models.
absl::Status CheckRoom(const v1::GenerateRequest& request, const v1::Model& model,
                       int virtual_tokens, const std::string& prefix) {
  const int room = model.n_positions() - virtual_tokens;
  const std::string positions =
      absl::StrCat(model.name(), " has ", model.n_positions(), " positions",
                   virtual_tokens == 0
                       ? ""
                       : absl::StrCat(", less the adapter's ", virtual_tokens, " virtual tokens"));
  if (room < 2) {
    return FieldViolation(absl::StrCat(prefix, virtual_tokens == 0 ? "base_model" : "adapter"),
                          absl::StrCat(positions, ": a prompt and what follows it need 2"));
  }
  if (request.max_new_tokens() < room) return absl::OkStatus();
  return FieldViolation(prefix + "max_new_tokens",
                        absl::StrCat("is ", request.max_new_tokens(), "; ", positions,
                                     ", for the prompt and what follows; must be 1 to ", room - 1));
}

// Asks the store once for each name.
class Resolver {
 public:
  explicit Resolver(JobStore& store) : store_(store) {}

  // `path` of the request in the call: empty, or "requests[3]".
  absl::StatusOr<Command::Generate> Resolve(const v1::GenerateRequest& request,
                                            const std::string& path) {
    RETURN_IF_ERROR(CheckRequest(request, path));
    const std::string prefix = path.empty() ? "" : path + ".";
    Command::Generate command;
    *command.mutable_request() = request;
    const v1::Adapter* adapter = nullptr;
    if (!request.adapter().empty()) {
      ASSIGN_OR_RETURN(adapter,
                       Find(adapters_, FindAdapter, request.adapter(), prefix + "adapter"));
      if (request.base_model().empty()) {
        command.mutable_request()->set_base_model(adapter->base_model());
      }
      *command.mutable_adapter() = FilesOf(*adapter);
    }
    ASSIGN_OR_RETURN(
        const v1::Model* const model,
        Find(models_, FindModel, command.request().base_model(), prefix + "base_model"));
    if (adapter != nullptr && model->sha256() != adapter->base_model_sha256()) {
      return FieldViolation(prefix + "base_model",
                            absl::StrCat("adapter \"", adapter->name(), "\" belongs to model \"",
                                         adapter->base_model(), "\""));
    }
    RETURN_IF_ERROR(CheckRoom(
        request, *model, adapter != nullptr ? NumVirtualTokens(adapter->method()) : 0, prefix));
    *command.mutable_base_model() = FilesOf(*model);
    return command;
  }

 private:
  template <typename T>
  absl::StatusOr<const T*> Find(std::map<std::string, T>& known,
                                absl::StatusOr<T> (*find)(JobStore&, const SpecReference&),
                                const std::string& name, const std::string& field) {
    if (const auto it = known.find(name); it != known.end()) return &it->second;
    RETURN_IF_ERROR(ValidateName(name, field));
    ASSIGN_OR_RETURN(T found, find(store_, {name, field}));
    return &known.emplace(name, std::move(found)).first->second;
  }

  JobStore& store_;
  std::map<std::string, v1::Adapter> adapters_;
  std::map<std::string, v1::Model> models_;
};

absl::Status CheckSameBase(const Command::Generate& first, const Command::Generate& other,
                           const std::string& path) {
  if (first.base_model().sha256() == other.base_model().sha256()) return absl::OkStatus();
  return FieldViolation(
      absl::StrCat(path, other.request().adapter().empty() ? ".base_model" : ".adapter"),
      absl::StrCat(other.request().adapter().empty()
                       ? ""
                       : absl::StrCat("adapter \"", other.request().adapter(), "\" "),
                   "is on base model \"", other.request().base_model(),
                   "\", the first request on \"", first.request().base_model(),
                   "\": all of a batch must be on one"));
}

}  // namespace

absl::StatusOr<Command::Generate> ResolveGeneration(JobStore& store,
                                                    const v1::GenerateRequest& request) {
  return Resolver(store).Resolve(request, "");
}

absl::StatusOr<std::vector<Command::Generate>> ResolveGenerationBatch(
    JobStore& store, const v1::GenerateBatchRequest& batch) {
  if (batch.requests().empty()) return FieldViolation("requests", "must not be empty");
  if (batch.requests_size() > kMaxBatchTexts) {
    return FieldViolation("requests",
                          absl::StrCat("has ", batch.requests_size(), " entries; at most ",
                                       kMaxBatchTexts, " are allowed"));
  }
  Resolver resolver(store);
  std::vector<Command::Generate> commands;
  int texts = 0;
  for (int i = 0; i < batch.requests_size(); ++i) {
    const std::string path = absl::StrCat("requests[", i, "]");
    ASSIGN_OR_RETURN(Command::Generate command, resolver.Resolve(batch.requests(i), path));
    texts += std::max(1, command.request().num_return_sequences());
    if (texts > kMaxBatchTexts) {
      return FieldViolation(path + ".num_return_sequences",
                            absl::StrCat("makes it ", texts, " texts in all; at most ",
                                         kMaxBatchTexts, " are allowed"));
    }
    commands.push_back(std::move(command));
    RETURN_IF_ERROR(CheckSameBase(commands.front(), commands.back(), path));
  }
  return commands;
}

}  // namespace graft
