#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/limits.h"
#include "common/jobs/continuation.h"
#include "common/jobs/spec_checks.h"

namespace graft {
namespace {

constexpr const char* kStoppingMetrics[] = {"eval/loss", "eval/rouge1", "eval/rouge2",
                                            "eval/rougeL", "eval/rougeLsum"};

void CheckFieldName(bool set, absl::string_view field, const std::string& name,
                    const FieldScope& scope) {
  if (!set) return;
  scope.Require(!name.empty(), field, "must not be empty");
  scope.AtMostBytes(field, name, kMaxFieldNameBytes);
}

void CheckData(const v1::DataSpec& data, bool evaluate, const FieldScope& scope) {
  if (!evaluate) scope.Name("train", data.train());
  switch (data.validation_source_case()) {
    case v1::DataSpec::kValidation:
      scope.Name("validation", data.validation());
      break;
    case v1::DataSpec::kValidationFraction:
      scope.Require(!evaluate, "validation_fraction",
                    "an evaluate job has no training data; name the data set in validation");
      scope.Require(data.validation_fraction() > 0 && data.validation_fraction() < 1,
                    "validation_fraction",
                    absl::StrCat("is ", data.validation_fraction(), "; must be between 0 and 1"));
      break;
    case v1::DataSpec::VALIDATION_SOURCE_NOT_SET:
      scope.Require(!evaluate, "validation", "is required");
      break;
  }
  CheckFieldName(data.has_source_field(), "source_field", data.source_field(), scope);
  CheckFieldName(data.has_target_field(), "target_field", data.target_field(), scope);
  CheckFieldName(data.has_text_field(), "text_field", data.text_field(), scope);
  scope.Require(!data.has_text_field() || (!data.has_source_field() && !data.has_target_field() &&
                                           !data.has_prompt_template()),
                "text_field", "excludes source_field, target_field and prompt_template");
  if (data.has_prompt_template()) CheckTemplate(data, scope);
  if (data.has_max_source_tokens()) {
    scope.AtLeast("max_source_tokens", data.max_source_tokens(), 1);
  }
  if (data.has_max_target_tokens()) {
    scope.AtLeast("max_target_tokens", data.max_target_tokens(), 1);
  }
  scope.Require(data.max_train_rows() >= 0, "max_train_rows", "must be 0 (all) or greater");
  scope.Require(data.max_validation_rows() >= 0, "max_validation_rows",
                "must be 0 (all) or greater");
}

void CheckEarlyStopping(const v1::FineTuneSpec& spec, const FieldScope& scope) {
  const v1::EarlyStopping& stopping = spec.training().early_stopping();
  if (stopping.has_patience()) scope.AtLeast("patience", stopping.patience(), 0);
  if (stopping.has_min_delta()) scope.NotNegative("min_delta", stopping.min_delta());
  const bool validates = spec.data().validation_source_case() != 0;
  scope.Require(validates || stopping.patience() == 0, "patience",
                "needs data.validation or data.validation_fraction");
  if (!stopping.has_metric()) return;
  // The default, as resolution writes it, stands beside a patience of 0.
  scope.Require(validates || (stopping.has_patience() && stopping.metric() == kStoppingMetrics[0]),
                "metric", "needs data.validation or data.validation_fraction");
  const std::set<std::string> known(std::begin(kStoppingMetrics), std::end(kStoppingMetrics));
  scope.Require(known.count(stopping.metric()) > 0, "metric",
                absl::StrCat("no such metric: \"", stopping.metric(), "\"; there are ",
                             absl::StrJoin(kStoppingMetrics, ", ")));
  const bool generates = !spec.data().has_text_field() &&
                         (!spec.evaluation().has_max_samples() || spec.evaluation().max_samples());
  scope.Require(stopping.metric() == "eval/loss" || generates, "metric",
                "is computed from generated texts: needs evaluation.max_samples other than 0 and "
                "no data.text_field");
}

void CheckOptimiser(const v1::TrainingSpec& training, const FieldScope& scope) {
  if (training.has_learning_rate()) scope.Positive("learning_rate", training.learning_rate());
  scope.Require(v1::Schedule_IsValid(training.schedule()), "schedule", "no such schedule");
  if (training.has_warmup_steps()) {
    scope.Between<int64_t>("warmup_steps", training.warmup_steps(), 0, kMaxSteps);
    scope.Require(!training.has_warmup_ratio(), "warmup_ratio", "excludes warmup_steps");
  }
  if (training.has_warmup_ratio()) scope.Share("warmup_ratio", training.warmup_ratio());
  if (training.has_weight_decay()) scope.NotNegative("weight_decay", training.weight_decay());
  if (training.has_beta1()) scope.Share("beta1", training.beta1());
  if (training.has_beta2()) scope.Share("beta2", training.beta2());
  if (training.has_eps()) scope.Positive("eps", training.eps());
  if (training.has_max_grad_norm()) scope.NotNegative("max_grad_norm", training.max_grad_norm());
}

void CheckTraining(const v1::TrainingSpec& training, const FieldScope& scope) {
  if (training.has_epochs()) scope.Between("epochs", training.epochs(), 1, kMaxEpochs);
  if (training.has_max_steps()) {
    scope.Between<int64_t>("max_steps", training.max_steps(), 1, kMaxSteps);
  }
  if (training.has_batch_size()) {
    scope.Between("batch_size", training.batch_size(), 1, kMaxBatchSize);
  }
  if (training.has_gradient_accumulation_steps()) {
    scope.Between("gradient_accumulation_steps", training.gradient_accumulation_steps(), 1,
                  kMaxAccumulation);
  }
  CheckOptimiser(training, scope);
  scope.Require(v1::Precision_IsValid(training.precision()), "precision", "no such precision");
  if (training.has_threads()) scope.Between("threads", training.threads(), 1, kMaxThreads);
  if (training.has_embedding_dropout()) {
    scope.Share("embedding_dropout", training.embedding_dropout());
  }
  if (training.has_attention_dropout()) {
    scope.Share("attention_dropout", training.attention_dropout());
  }
  if (training.has_residual_dropout()) scope.Share("residual_dropout", training.residual_dropout());
  scope.Between<int64_t>("eval_every_steps", training.eval_every_steps(), 0, kMaxSteps);
  const FieldScope checkpoint = scope.At("checkpoint");
  checkpoint.Between<int64_t>("every_steps", training.checkpoint().every_steps(), 0, kMaxSteps);
  checkpoint.Between<double>("every_seconds", training.checkpoint().every_seconds(), 0,
                             kMaxCheckpointSeconds);
  if (training.checkpoint().has_keep_last()) {
    checkpoint.Between("keep_last", training.checkpoint().keep_last(), 1, kMaxKeptCheckpoints);
  }
  checkpoint.Between("keep_best", training.checkpoint().keep_best(), 0, kMaxKeptCheckpoints);
  scope.Require(v1::DivergencePolicy_IsValid(training.on_divergence()), "on_divergence",
                "no such policy");
}

void CheckEvaluation(const v1::EvaluationSpec& evaluation, bool text, const FieldScope& scope) {
  scope.Require(evaluation.max_samples() >= -1, "max_samples",
                "must be -1 (all), 0 (no generation) or greater");
  scope.Require(!text || evaluation.max_samples() == 0, "max_samples",
                "must be 0 with data.text_field: plain text has nothing to generate for");
  if (evaluation.has_max_new_tokens()) {
    scope.AtLeast("max_new_tokens", evaluation.max_new_tokens(), 1);
  }
  CheckGeneration(evaluation.generation(), scope.At("generation"));
  if (evaluation.has_generation_batch_size()) {
    scope.Between("generation_batch_size", evaluation.generation_batch_size(), 1, kMaxBatchSize);
  }
  scope.Between("sample_events", evaluation.sample_events(), 0, kMaxSampleEvents);
}

void CheckFineTune(const v1::FineTuneSpec& spec, const FieldScope& scope) {
  scope.Name("base_model", spec.base_model());
  CheckData(spec.data(), /*evaluate=*/false, scope.At("data"));
  CheckMethod(spec.method(), scope.At("method"));
  CheckTraining(spec.training(), scope.At("training"));
  CheckEarlyStopping(spec, scope.At("training.early_stopping"));
  const FieldScope evaluation = scope.At("evaluation");
  CheckEvaluation(spec.evaluation(), spec.data().has_text_field(), evaluation);
  evaluation.Require(
      spec.data().validation_source_case() != 0 || spec.evaluation().max_samples() == 0,
      "max_samples", "needs data.validation or data.validation_fraction");
  evaluation.Require(!spec.evaluation().lead3_baseline(), "lead3_baseline",
                     "belongs to evaluate jobs");
  evaluation.Require(!spec.evaluation().untuned_baseline(), "untuned_baseline",
                     "belongs to evaluate jobs");
  evaluation.Require(!spec.evaluation().oracle_baseline(), "oracle_baseline",
                     "belongs to evaluate jobs");
  if (ContinuesJob(spec)) {
    scope.Take(ParseCheckpointName(spec.init_from(), scope.Path("init_from")).status());
  } else if (!spec.init_from().empty()) {
    scope.Name("init_from", spec.init_from());
    scope.Require(!MakesModel(spec.method()), "init_from",
                  "names an adapter, which a full job does not have");
  }
  if (!spec.output_name().empty()) scope.Name("output_name", spec.output_name());
}

void CheckAdapters(const v1::EvaluateSpec& spec, const FieldScope& scope) {
  const int count = spec.adapters_size();
  if (count == 0) return;
  scope.Require(spec.adapter().empty(), "adapters", "excludes adapter: name all of them here");
  scope.Require(count > 1 && count <= kMaxEvaluatedAdapters, "adapters",
                absl::StrCat("has ", count, "; must have 2 to ", kMaxEvaluatedAdapters,
                             count == 1 ? ", one alone is named in adapter" : ""));
  std::set<std::string> seen;
  for (int i = 0; i < std::min(count, kMaxEvaluatedAdapters); ++i) {
    const std::string field = absl::StrCat("adapters[", i, "]");
    scope.Name(field, spec.adapters(i));
    scope.Require(seen.insert(spec.adapters(i)).second, field,
                  absl::StrCat("names ", spec.adapters(i), " again"));
  }
}

void CheckEvaluate(const v1::EvaluateSpec& spec, const FieldScope& scope) {
  const bool adapted = !spec.adapter().empty() || !spec.adapters().empty();
  if (!spec.adapter().empty()) scope.Name("adapter", spec.adapter());
  CheckAdapters(spec, scope);
  if (!adapted && spec.base_model().empty()) {
    scope.Add("base_model", "is required unless adapter is given");
  }
  if (!spec.base_model().empty()) scope.Name("base_model", spec.base_model());
  CheckData(spec.data(), /*evaluate=*/true, scope.At("data"));
  CheckEvaluation(spec.evaluation(), spec.data().has_text_field(), scope.At("evaluation"));
  scope.Require(!spec.evaluation().train_row_losses(), "evaluation.train_row_losses",
                "belongs to fine-tune jobs");
  scope.Require(!spec.evaluation().untuned_baseline() || adapted, "evaluation.untuned_baseline",
                "needs an adapter to compare with");
  scope.Require(v1::Precision_IsValid(spec.precision()), "precision", "no such precision");
  if (spec.has_threads()) scope.Between("threads", spec.threads(), 1, kMaxThreads);
  if (spec.has_batch_size()) scope.Between("batch_size", spec.batch_size(), 1, kMaxBatchSize);
}

}  // namespace

void CheckTemplate(const v1::DataSpec& data, const FieldScope& scope) {
  scope.AtMostBytes("prompt_template", data.prompt_template(), kMaxPromptTemplateBytes);
  const std::string& text = data.prompt_template();
  const size_t first = text.find("{source}");
  const bool once =
      first != std::string::npos && text.find("{source}", first + 1) == std::string::npos;
  scope.Require(once, "prompt_template",
                absl::StrCat("must contain {source} exactly once, which stands for source_field; ",
                             kJoinFieldsAdvice));
}

void CheckGeneration(const v1::GenerationOptions& generation, const FieldScope& scope) {
  if (generation.has_temperature()) scope.Positive("temperature", generation.temperature());
  if (generation.has_top_k()) scope.AtLeast("top_k", generation.top_k(), 0);
  scope.Require(!generation.has_top_p() || (generation.top_p() > 0 && generation.top_p() <= 1),
                "top_p", "must be greater than 0 and at most 1");
  if (generation.has_num_beams()) scope.Between("num_beams", generation.num_beams(), 1, kMaxBeams);
  scope.Require(!generation.do_sample() || generation.num_beams() <= 1, "num_beams",
                "must be 1 with do_sample: beam search that samples is not supported");
  scope.Require(std::isfinite(generation.length_penalty()), "length_penalty", "must be finite");
  scope.Require(v1::BeamEarlyStopping_IsValid(generation.early_stopping()), "early_stopping",
                "must be false, true or never");
  if (generation.has_repetition_penalty()) {
    scope.Positive("repetition_penalty", generation.repetition_penalty());
  }
  if (generation.has_no_repeat_ngram_size()) {
    scope.AtLeast("no_repeat_ngram_size", generation.no_repeat_ngram_size(), 0);
  }
}

void CheckSpec(const v1::JobSpec& spec, const FieldScope& scope) {
  switch (spec.task_case()) {
    case v1::JobSpec::kFineTune:
      return CheckFineTune(spec.fine_tune(), scope.At("fine_tune"));
    case v1::JobSpec::kEvaluate:
      return CheckEvaluate(spec.evaluate(), scope.At("evaluate"));
    case v1::JobSpec::TASK_NOT_SET:
      return scope.AddHere("is required: fine_tune or evaluate");
  }
}

absl::Status ValidateSpec(const v1::JobSpec& spec, absl::string_view path) {
  Violations violations;
  CheckSpec(spec, FieldScope(violations, path));
  return violations.ToStatus();
}

}  // namespace graft
