#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/jobs/continuation.h"
#include "common/jobs/method.h"
#include "common/jobs/names.h"
#include "common/jobs/share.h"
#include "common/jobs/spec_checks.h"

namespace graft {
namespace {

constexpr int kMaxSourceTokens = 512;
constexpr int kMaxTargetTokens = 128;
constexpr int kMaxNewTokens = 128;
constexpr int64_t kFineTuneSamples = 32;
constexpr uint64_t kSeed = 42;

// Positions that the default lengths may use: the same for every method whose soft prompt takes at
// most an eighth of the model, so that their scores compare.
int DefaultRoom(const Room& room) {
  return room.n_positions - std::max(room.num_virtual_tokens, room.n_positions / 8);
}

void CheckField(const v1::Dataset& dataset, const std::string& name, absl::string_view field,
                const FieldScope& scope) {
  const auto& fields = dataset.fields();
  scope.Require(std::find(fields.begin(), fields.end(), name) != fields.end(), field,
                absl::StrCat("\"", name, "\" is no field of ", dataset.name(), ", which has ",
                             absl::StrJoin(fields, ", "),
                             fields.size() == 1 && field != "text_field"
                                 ? " alone: text_field trains on that as plain text"
                                 : ""));
}

// A field in braces, which nothing fills in, would be trained on as it stands.
void CheckPlaceholders(const v1::Dataset& dataset, const v1::DataSpec& data,
                       const FieldScope& scope) {
  for (const std::string& field : dataset.fields()) {
    const std::string braced = absl::StrCat("{", field, "}");
    scope.Require(
        field == "source" || !absl::StrContains(data.prompt_template(), braced), "prompt_template",
        absl::StrCat("has ", braced, ", but only {source} is filled in; ", kJoinFieldsAdvice));
  }
}

void CheckDataset(const v1::Dataset& dataset, const v1::DataSpec& data, absl::string_view name,
                  const FieldScope& scope) {
  scope.Require(dataset.num_rows() > 0, name, absl::StrCat(dataset.name(), " has no rows"));
  if (data.has_text_field()) {
    CheckField(dataset, data.text_field(), "text_field", scope);
  } else {
    CheckField(dataset, data.source_field(), "source_field", scope);
    CheckField(dataset, data.target_field(), "target_field", scope);
  }
}

void CheckHeldOutRows(const v1::Dataset& train, const v1::DataSpec& data, const FieldScope& scope) {
  int64_t rows = train.num_rows();
  if (data.max_train_rows() > 0) rows = std::min(rows, data.max_train_rows());
  const int64_t held_out = CeilShare(data.validation_fraction(), rows);
  scope.Require(held_out < rows, "validation_fraction",
                absl::StrCat("holds out ", held_out, " of ", rows, " rows: none is left to train"));
}

void ResolveData(const SpecFacts& facts, const Room& room, v1::DataSpec& data,
                 const FieldScope& scope) {
  ResolveFields(data);
  if (!data.has_text_field()) {
    if (!data.has_prompt_template()) data.set_prompt_template("{source}\nTL;DR:");
    ResolveLengths(room, data, scope);
  }
  if (!data.has_max_train_rows()) data.set_max_train_rows(0);
  if (!data.has_max_validation_rows()) data.set_max_validation_rows(0);
  data.clear_train_sha256();
  data.clear_validation_sha256();
  if (facts.train != nullptr) {
    data.set_train_sha256(facts.train->sha256());
    CheckDataset(*facts.train, data, "train", scope);
    CheckPlaceholders(*facts.train, data, scope);
    if (data.has_validation_fraction()) CheckHeldOutRows(*facts.train, data, scope);
  }
  if (facts.validation != nullptr) {
    data.set_validation_sha256(facts.validation->sha256());
    CheckDataset(*facts.validation, data, "validation", scope);
  }
}

void ResolveEarlyStopping(bool validates, v1::EarlyStopping& stopping) {
  if (!stopping.has_metric()) stopping.set_metric("eval/loss");
  if (!stopping.has_patience()) stopping.set_patience(validates ? 2 : 0);
  if (!stopping.has_min_delta()) stopping.set_min_delta(0);
}

void ResolveTraining(const SpecDefaults& defaults, bool trunk_trains, v1::TrainingSpec& training) {
  if (!training.has_epochs() && !training.has_max_steps()) training.set_epochs(10);
  if (training.has_max_steps()) training.clear_epochs();
  if (!training.has_batch_size()) training.set_batch_size(8);
  if (!training.has_gradient_accumulation_steps()) training.set_gradient_accumulation_steps(1);
  if (training.schedule() == v1::SCHEDULE_UNSPECIFIED) training.set_schedule(v1::SCHEDULE_LINEAR);
  if (!training.has_warmup_ratio() && !training.has_warmup_steps()) training.set_warmup_steps(0);
  if (!training.has_weight_decay()) training.set_weight_decay(0);
  if (!training.has_beta1()) training.set_beta1(0.9);
  if (!training.has_beta2()) training.set_beta2(0.999);
  if (!training.has_eps()) training.set_eps(1e-8);
  if (!training.has_max_grad_norm()) training.set_max_grad_norm(1.0);
  if (!training.has_seed()) training.set_seed(kSeed);
  if (training.precision() == v1::PRECISION_UNSPECIFIED) {
    training.set_precision(v1::PRECISION_AUTO);
  }
  if (!training.has_threads() && defaults.threads > 0) training.set_threads(defaults.threads);
  if (!trunk_trains) {
    if (!training.has_embedding_dropout()) training.set_embedding_dropout(0);
    if (!training.has_attention_dropout()) training.set_attention_dropout(0);
    if (!training.has_residual_dropout()) training.set_residual_dropout(0);
  }
  if (!training.has_eval_every_steps()) training.set_eval_every_steps(0);
  v1::CheckpointPolicy& checkpoint = *training.mutable_checkpoint();
  if (!checkpoint.has_every_steps()) checkpoint.set_every_steps(0);
  if (!checkpoint.has_every_seconds()) checkpoint.set_every_seconds(600);
  if (!checkpoint.has_keep_last()) checkpoint.set_keep_last(2);
  if (!checkpoint.has_keep_best()) checkpoint.set_keep_best(1);
  if (training.on_divergence() == v1::DIVERGENCE_POLICY_UNSPECIFIED) {
    training.set_on_divergence(v1::DIVERGENCE_POLICY_STOP);
  }
}

// An adapter works on the weights it was made for.
void CheckAdapterFits(const v1::Adapter& adapter, const v1::Model& model, absl::string_view field,
                      const FieldScope& scope) {
  scope.Require(adapter.base_model_sha256() == model.sha256(), field,
                absl::StrCat(adapter.name(), " was made for the base model ", adapter.base_model(),
                             " (", adapter.base_model_sha256().substr(0, 12), "), not for ",
                             model.name(), " (", model.sha256().substr(0, 12), ")"));
}

// A prompt of one token and one that follows it are the least that there is to do.
bool CheckRoom(const Room& room, const v1::Model& model, absl::string_view field,
               const FieldScope& scope) {
  const int available = room.n_positions - room.num_virtual_tokens;
  scope.Require(available >= 2, field,
                absl::StrCat(model.name(), " has ", room.n_positions, " positions",
                             room.num_virtual_tokens == 0
                                 ? ""
                                 : absl::StrCat(", less the adapter's ", room.num_virtual_tokens,
                                                " virtual tokens"),
                             ": a prompt and what follows it need 2"));
  return available >= 2;
}

void CheckGoesOn(const v1::FineTuneSpec* from, const v1::FineTuneSpec& spec,
                 const FieldScope& scope) {
  const std::optional<CheckpointRef> checkpoint = InitialCheckpoint(spec);
  if (!checkpoint) return;
  if (from == nullptr) {
    return scope.Add("init_from", "names a job that is not known here, or is no training");
  }
  CheckContinuation(*from, JobName(checkpoint->job), spec, scope);
  const v1::TrainingSpec& training = spec.training();
  if (training.has_max_steps() && training.max_steps() <= checkpoint->step) {
    scope.Add("training.max_steps", absl::StrCat("is ", training.max_steps(),
                                                 ", of the whole run; the checkpoint is at step ",
                                                 checkpoint->step, " already"));
  }
}

void ResolveFineTune(const SpecFacts& facts, const SpecDefaults& defaults, v1::FineTuneSpec& spec,
                     const FieldScope& scope) {
  const v1::Model& model = *facts.base_model;
  spec.set_base_model_sha256(model.sha256());
  spec.clear_init_from_sha256();
  if (!CheckRoom({model.n_positions(), 0}, model, "base_model", scope)) return;
  if (facts.adapter != nullptr) {
    spec.set_init_from_sha256(facts.adapter->sha256());
    CheckAdapterFits(*facts.adapter, model, "init_from", scope);
  }
  const v1::Adapter* initial = facts.adapter;
  if (initial != nullptr && !initial->init_from_error().empty()) {
    scope.Add("init_from", absl::StrCat("a job cannot begin with ", initial->name(), ": ",
                                        initial->init_from_error(),
                                        NumVirtualTokens(initial->method()) > 0
                                            ? ""
                                            : "; merge it into its base model, and train that"));
    initial = nullptr;
  }
  ResolveMethod(spec.training(), model, initial, *spec.mutable_method(), scope.At("method"));
  // A soft prompt that does not fit is told of once, as itself.
  const Room room = {model.n_positions(),
                     std::min(NumVirtualTokens(spec.method()), model.n_positions() - 2)};
  ResolveData(facts, room, *spec.mutable_data(), scope.At("data"));
  // Its sums are those of the other job, whatever the installation's number of threads is by now.
  const SpecDefaults own =
      facts.continued == nullptr ? defaults : SpecDefaults{facts.continued->training().threads()};
  ResolveTraining(own, NumWholeBlocks(spec.method(), model.n_layer()) > 0,
                  *spec.mutable_training());
  const bool validates = spec.data().validation_source_case() != 0;
  ResolveEarlyStopping(validates, *spec.mutable_training()->mutable_early_stopping());
  ResolveEvaluation(room, spec.data(), validates ? kFineTuneSamples : 0, *spec.mutable_evaluation(),
                    scope.At("evaluation"));
  spec.mutable_evaluation()->set_lead3_baseline(false);
  spec.mutable_evaluation()->set_untuned_baseline(false);
  spec.mutable_evaluation()->set_oracle_baseline(false);
  if (!spec.evaluation().has_train_row_losses()) {
    spec.mutable_evaluation()->set_train_row_losses(false);
  }
  CheckGoesOn(facts.continued, spec, scope);
}

// The lengths that the adapter was trained with, as far as what is set leaves room for them.
void InheritLengths(const v1::DataSpec& trained, int available, v1::DataSpec& data) {
  if (!data.has_max_target_tokens() && trained.has_max_target_tokens()) {
    const int left = available - (data.has_max_source_tokens() ? data.max_source_tokens() : 1);
    if (left > 0) data.set_max_target_tokens(std::min(trained.max_target_tokens(), left));
  }
  if (!data.has_max_source_tokens() && trained.has_max_source_tokens()) {
    const int left = available - (data.has_max_target_tokens() ? data.max_target_tokens() : 1);
    if (left > 0) data.set_max_source_tokens(std::min(trained.max_source_tokens(), left));
  }
}

// An adapter to evaluate, and the field of the spec that names it.
struct EvaluatedAdapter {
  const v1::Adapter* adapter = nullptr;
  std::string field;
};

std::vector<EvaluatedAdapter> AdaptersToEvaluate(const SpecFacts& facts) {
  std::vector<EvaluatedAdapter> adapters;
  if (facts.adapter != nullptr) adapters.push_back({facts.adapter, "adapter"});
  for (size_t i = 0; i < facts.adapters.size(); ++i) {
    adapters.push_back({facts.adapters[i], absl::StrCat("adapters[", i, "]")});
  }
  return adapters;
}

std::string SettingText(const std::string& text) { return Quoted(text); }
std::string SettingText(int32_t number) { return absl::StrCat(number); }

// What the adapters were trained with in a field that the spec leaves open, by those of them that
// say it. Nothing: none does; or two say different things, so that it must be set.
template <typename Get>
auto AgreedOn(const std::vector<EvaluatedAdapter>& adapters, absl::string_view field,
              bool (v1::DataSpec::*has)() const, Get get, const FieldScope& scope)
    -> std::optional<std::decay_t<std::invoke_result_t<Get, const v1::DataSpec&>>> {
  const v1::Adapter* first = nullptr;
  for (const EvaluatedAdapter& named : adapters) {
    const v1::DataSpec& trained = named.adapter->trained_with();
    if (!(trained.*has)()) continue;
    if (first == nullptr) first = named.adapter;
    const auto& theirs = std::invoke(get, first->trained_with());
    const auto& ours = std::invoke(get, trained);
    if (ours == theirs) continue;
    scope.Add(field, absl::StrCat("must be set: ", first->name(), " was trained with ",
                                  SettingText(theirs), ", ", named.adapter->name(), " with ",
                                  SettingText(ours)));
    return std::nullopt;
  }
  if (first == nullptr) return std::nullopt;
  return std::invoke(get, first->trained_with());
}

// What of it the adapters agree on, where `data` leaves it open.
v1::DataSpec AgreedTraining(const std::vector<EvaluatedAdapter>& adapters, const v1::DataSpec& data,
                            const FieldScope& scope) {
  v1::DataSpec agreed;
  if (data.has_text_field()) return agreed;
  if (!data.has_prompt_template()) {
    const auto text = AgreedOn(
        adapters, "prompt_template", &v1::DataSpec::has_prompt_template,
        [](const v1::DataSpec& from) { return from.prompt_template(); }, scope);
    if (text) agreed.set_prompt_template(*text);
  }
  if (!data.has_max_source_tokens()) {
    const auto tokens =
        AgreedOn(adapters, "max_source_tokens", &v1::DataSpec::has_max_source_tokens,
                 &v1::DataSpec::max_source_tokens, scope);
    if (tokens) agreed.set_max_source_tokens(*tokens);
  }
  if (!data.has_max_target_tokens()) {
    const auto tokens =
        AgreedOn(adapters, "max_target_tokens", &v1::DataSpec::has_max_target_tokens,
                 &v1::DataSpec::max_target_tokens, scope);
    if (tokens) agreed.set_max_target_tokens(*tokens);
  }
  return agreed;
}

void InheritTraining(const v1::DataSpec& trained, const Room& room, v1::DataSpec& data) {
  if (data.has_text_field()) return;
  if (!data.has_prompt_template() && trained.has_prompt_template()) {
    data.set_prompt_template(trained.prompt_template());
  }
  InheritLengths(trained, room.n_positions - room.num_virtual_tokens, data);
}

void ResolveEvaluate(const SpecFacts& facts, const SpecDefaults& defaults, v1::EvaluateSpec& spec,
                     const FieldScope& scope) {
  const v1::Model& model = *facts.base_model;
  spec.set_base_model(model.name());
  spec.set_base_model_sha256(model.sha256());
  spec.clear_adapter_sha256();
  spec.clear_adapters_sha256();
  if (facts.adapter != nullptr) spec.set_adapter_sha256(facts.adapter->sha256());
  for (const v1::Adapter* adapter : facts.adapters) spec.add_adapters_sha256(adapter->sha256());
  const std::vector<EvaluatedAdapter> adapters = AdaptersToEvaluate(facts);
  // The texts of several are cut alike, for the one that leaves them least.
  Room room = {model.n_positions(), 0};
  std::string narrowest = "base_model";
  for (const EvaluatedAdapter& named : adapters) {
    CheckAdapterFits(*named.adapter, model, named.field, scope);
    const int taken = NumVirtualTokens(named.adapter->method());
    if (narrowest != "base_model" && taken <= room.num_virtual_tokens) continue;
    room.num_virtual_tokens = taken;
    narrowest = named.field;
  }
  if (!CheckRoom(room, model, narrowest, scope)) return;
  InheritTraining(AgreedTraining(adapters, spec.data(), scope.At("data")), room,
                  *spec.mutable_data());
  SpecFacts data_facts = facts;
  data_facts.train = nullptr;
  spec.mutable_data()->clear_train();
  ResolveData(data_facts, room, *spec.mutable_data(), scope.At("data"));
  ResolveEvaluation(room, spec.data(), -1, *spec.mutable_evaluation(), scope.At("evaluation"));
  v1::EvaluationSpec& evaluation = *spec.mutable_evaluation();
  if (!evaluation.has_lead3_baseline()) {
    evaluation.set_lead3_baseline(!spec.data().has_text_field());
  }
  if (!evaluation.has_untuned_baseline()) evaluation.set_untuned_baseline(false);
  if (!evaluation.has_oracle_baseline()) evaluation.set_oracle_baseline(false);
  evaluation.set_train_row_losses(false);
  if (spec.precision() == v1::PRECISION_UNSPECIFIED) spec.set_precision(v1::PRECISION_AUTO);
  if (!spec.has_threads() && defaults.threads > 0) spec.set_threads(defaults.threads);
  if (!spec.has_batch_size()) spec.set_batch_size(8);
}

// A spec that names what the caller did not look up cannot be resolved.
absl::Status CheckFacts(const v1::JobSpec& spec, const SpecFacts& facts, absl::string_view path) {
  const SpecReferences names = ReferencesOf(spec, path);
  Violations violations;
  const auto check = [&](const SpecReference& reference, const void* fact, const char* what) {
    if (fact != nullptr || reference.name.empty()) return;
    violations.Add(reference.field, absl::StrCat("there is no ", what, " ", reference.name));
  };
  check(names.base_model, facts.base_model, "base model");
  check(names.adapter, facts.adapter, "adapter");
  for (size_t i = 0; i < names.adapters.size(); ++i) {
    check(names.adapters[i], i < facts.adapters.size() ? facts.adapters[i] : nullptr, "adapter");
  }
  check(names.train, facts.train, "data set");
  check(names.validation, facts.validation, "data set");
  if (violations.empty() && facts.base_model == nullptr) {
    const SpecReference& adapter = names.adapters.empty() ? names.adapter : names.adapters[0];
    violations.Add(names.base_model.field,
                   absl::StrCat("the base model of the adapter ", adapter.name, " is not known"));
  }
  return violations.ToStatus();
}

}  // namespace

void ResolveFields(v1::DataSpec& data) {
  if (data.has_text_field()) return;
  if (!data.has_source_field()) data.set_source_field("document");
  if (!data.has_target_field()) data.set_target_field("summary");
}

void ResolveLengths(const Room& room, v1::DataSpec& data, const FieldScope& scope) {
  const int available = room.n_positions - room.num_virtual_tokens;
  const int default_room = std::min(DefaultRoom(room), kMaxSourceTokens + kMaxTargetTokens);
  const bool source_set = data.has_max_source_tokens();
  if (!data.has_max_target_tokens()) {
    // The model's share in the proportion of the full lengths, 4 : 1; or what the source leaves.
    const int share = default_room * kMaxTargetTokens / (kMaxSourceTokens + kMaxTargetTokens);
    const int target =
        source_set ? std::min(kMaxTargetTokens, available - data.max_source_tokens()) : share;
    data.set_max_target_tokens(std::max(1, target));
  }
  if (!source_set) {
    int rest = DefaultRoom(room) - data.max_target_tokens();
    if (rest < 1) rest = available - data.max_target_tokens();
    data.set_max_source_tokens(std::max(1, std::min(kMaxSourceTokens, rest)));
  }
  const int64_t sum = int64_t{data.max_source_tokens()} + data.max_target_tokens();
  if (sum <= available) return;
  scope.Add(source_set ? "max_source_tokens" : "max_target_tokens",
            absl::StrCat("prompt and text are longer than the model: ", room.num_virtual_tokens,
                         " virtual tokens + ", data.max_source_tokens(), " source + ",
                         data.max_target_tokens(), " target > n_positions ", room.n_positions));
}

void ResolveEvaluation(const Room& room, const v1::DataSpec& resolved_data, int64_t default_samples,
                       v1::EvaluationSpec& evaluation, const FieldScope& scope) {
  const bool text = resolved_data.has_text_field();
  if (!evaluation.has_max_samples()) evaluation.set_max_samples(text ? 0 : default_samples);
  const int available = room.n_positions - room.num_virtual_tokens;
  if (!evaluation.has_max_new_tokens()) {
    // What the longest prompt leaves, so that generation cuts no more than training did; in a model
    // too short for the full length, no more than the targets.
    const int left = text ? available - 1 : available - resolved_data.max_source_tokens();
    const int most = text || DefaultRoom(room) >= kMaxSourceTokens + kMaxTargetTokens
                         ? kMaxNewTokens
                         : std::min(kMaxNewTokens, resolved_data.max_target_tokens());
    evaluation.set_max_new_tokens(std::max(1, std::min(most, left)));
  }
  scope.Require(
      evaluation.max_new_tokens() < available, "max_new_tokens",
      absl::StrCat("is ", evaluation.max_new_tokens(), "; the model has ", available,
                   " positions for the prompt and what follows; must be 1 to ", available - 1));
  v1::GenerationOptions& generation = *evaluation.mutable_generation();
  if (!generation.has_temperature()) generation.set_temperature(1.0);
  if (!generation.has_top_k()) generation.set_top_k(0);
  if (!generation.has_top_p()) generation.set_top_p(1.0);
  if (!generation.has_seed()) generation.set_seed(kSeed);
  if (!generation.has_num_beams()) generation.set_num_beams(1);
  if (!generation.has_length_penalty()) generation.set_length_penalty(1.0);
  if (generation.early_stopping() == v1::BEAM_EARLY_STOPPING_UNSPECIFIED) {
    generation.set_early_stopping(v1::BEAM_EARLY_STOPPING_FALSE);
  }
  if (!generation.has_repetition_penalty()) generation.set_repetition_penalty(1.0);
  if (!generation.has_no_repeat_ngram_size()) generation.set_no_repeat_ngram_size(0);
  if (!evaluation.has_use_stemmer()) evaluation.set_use_stemmer(true);
  if (!evaluation.has_generation_batch_size()) evaluation.set_generation_batch_size(16);
  if (!evaluation.has_sample_events()) evaluation.set_sample_events(2);
}

SpecReferences ReferencesOf(const v1::JobSpec& spec, absl::string_view path) {
  SpecReferences names;
  Violations unused;
  if (spec.has_evaluate()) {
    const v1::EvaluateSpec& evaluate = spec.evaluate();
    const FieldScope scope(unused, FieldScope(unused, path).Path("evaluate"));
    names.base_model = {evaluate.base_model(), scope.Path("base_model")};
    names.adapter = {evaluate.adapter(), scope.Path("adapter")};
    for (int i = 0; i < evaluate.adapters_size(); ++i) {
      names.adapters.push_back(
          {evaluate.adapters(i), scope.Path(absl::StrCat("adapters[", i, "]"))});
    }
    names.validation = {evaluate.data().validation(), scope.Path("data.validation")};
    return names;
  }
  const v1::FineTuneSpec& fine_tune = spec.fine_tune();
  const FieldScope scope(unused, FieldScope(unused, path).Path("fine_tune"));
  names.base_model = {fine_tune.base_model(), scope.Path("base_model")};
  names.adapter = {InitialAdapter(fine_tune), scope.Path("init_from")};
  names.train = {fine_tune.data().train(), scope.Path("data.train")};
  names.validation = {fine_tune.data().validation(), scope.Path("data.validation")};
  return names;
}

absl::StatusOr<v1::JobSpec> ResolveSpec(const v1::JobSpec& spec, const SpecFacts& facts,
                                        const SpecDefaults& defaults, absl::string_view path) {
  RETURN_IF_ERROR(ValidateSpec(spec, path));
  RETURN_IF_ERROR(CheckFacts(spec, facts, path));
  Violations violations;
  const FieldScope scope(violations, path);
  v1::JobSpec resolved = spec;
  if (resolved.has_fine_tune()) {
    ResolveFineTune(facts, defaults, *resolved.mutable_fine_tune(), scope.At("fine_tune"));
  } else {
    ResolveEvaluate(facts, defaults, *resolved.mutable_evaluate(), scope.At("evaluate"));
  }
  RETURN_IF_ERROR(violations.ToStatus());
  return resolved;
}

}  // namespace graft
