#include "worker/engine/run/spec_bridge.h"

#include "common/methods/method_spec.h"

namespace graft {
namespace {

// Sets *target when the message says so; otherwise its default stays.
template <typename To, typename From>
void Take(bool has, const From& value, To& target) {
  if (has) target = static_cast<To>(value);
}
#define GRAFT_TAKE(message, field, target) Take(message.has_##field(), message.field(), target)

Precision ToPrecision(v1::Precision precision) {
  switch (precision) {
    case v1::PRECISION_FP32:
      return Precision::kFp32;
    case v1::PRECISION_BF16:
      return Precision::kBf16;
    case v1::PRECISION_FP64:
      return Precision::kFp64;
    default:
      return Precision::kAuto;
  }
}

Schedule ToSchedule(v1::Schedule schedule) {
  switch (schedule) {
    case v1::SCHEDULE_COSINE:
      return Schedule::kCosine;
    case v1::SCHEDULE_CONSTANT:
      return Schedule::kConstant;
    default:
      return Schedule::kLinear;
  }
}

BeamEarlyStopping ToEarlyStopping(v1::BeamEarlyStopping stopping) {
  switch (stopping) {
    case v1::BEAM_EARLY_STOPPING_TRUE:
      return BeamEarlyStopping::kTrue;
    case v1::BEAM_EARLY_STOPPING_NEVER:
      return BeamEarlyStopping::kNever;
    default:
      return BeamEarlyStopping::kFalse;
  }
}

DivergencePolicy ToPolicy(v1::DivergencePolicy policy) {
  switch (policy) {
    case v1::DIVERGENCE_POLICY_SKIP:
      return DivergencePolicy::kSkip;
    case v1::DIVERGENCE_POLICY_ROLL_BACK:
      return DivergencePolicy::kRollBack;
    default:
      return DivergencePolicy::kStop;
  }
}

TrainingConfig ToConfig(const v1::TrainingSpec& spec) {
  TrainingConfig config;
  GRAFT_TAKE(spec, epochs, config.epochs);
  GRAFT_TAKE(spec, max_steps, config.max_steps);
  GRAFT_TAKE(spec, batch_size, config.batch_size);
  GRAFT_TAKE(spec, gradient_accumulation_steps, config.gradient_accumulation_steps);
  if (spec.has_learning_rate()) {
    for (auto& [method, rate] : config.learning_rates) rate = spec.learning_rate();
  }
  config.schedule = ToSchedule(spec.schedule());
  GRAFT_TAKE(spec, warmup_steps, config.warmup_steps);
  GRAFT_TAKE(spec, warmup_ratio, config.warmup_ratio);
  GRAFT_TAKE(spec, weight_decay, config.weight_decay);
  GRAFT_TAKE(spec, beta1, config.beta1);
  GRAFT_TAKE(spec, beta2, config.beta2);
  GRAFT_TAKE(spec, eps, config.eps);
  GRAFT_TAKE(spec, max_grad_norm, config.max_grad_norm);
  GRAFT_TAKE(spec, seed, config.seed);
  config.precision = ToPrecision(spec.precision());
  GRAFT_TAKE(spec, threads, config.threads);
  GRAFT_TAKE(spec, eval_every_steps, config.eval_every_steps);
  GRAFT_TAKE(spec.early_stopping(), metric, config.early_stopping.metric);
  GRAFT_TAKE(spec.early_stopping(), patience, config.early_stopping.patience);
  GRAFT_TAKE(spec.early_stopping(), min_delta, config.early_stopping.min_delta);
  GRAFT_TAKE(spec.checkpoint(), every_steps, config.checkpoint_every_steps);
  GRAFT_TAKE(spec.checkpoint(), every_seconds, config.checkpoint_every_seconds);
  GRAFT_TAKE(spec.checkpoint(), keep_last, config.checkpoint_keep_last);
  config.on_divergence = ToPolicy(spec.on_divergence());
  return config;
}

EvaluationConfig ToConfig(const v1::EvaluationSpec& spec) {
  EvaluationConfig config;
  GRAFT_TAKE(spec, max_samples, config.max_samples);
  GRAFT_TAKE(spec, max_new_tokens, config.max_new_tokens);
  config.generation = ToGenerationConfig(spec.generation());
  GRAFT_TAKE(spec, use_stemmer, config.use_stemmer);
  GRAFT_TAKE(spec, generation_batch_size, config.generation_batch_size);
  GRAFT_TAKE(spec, lead3_baseline, config.lead3_baseline);
  GRAFT_TAKE(spec, untuned_baseline, config.untuned_baseline);
  GRAFT_TAKE(spec, oracle_baseline, config.oracle_baseline);
  GRAFT_TAKE(spec, train_row_losses, config.train_row_losses);
  GRAFT_TAKE(spec, sample_events, config.sample_events);
  return config;
}

}  // namespace

DataConfig ToDataConfig(const v1::DataSpec& spec) {
  DataConfig config;
  GRAFT_TAKE(spec, source_field, config.source_field);
  GRAFT_TAKE(spec, target_field, config.target_field);
  GRAFT_TAKE(spec, text_field, config.text_field);
  GRAFT_TAKE(spec, prompt_template, config.prompt_template);
  GRAFT_TAKE(spec, max_source_tokens, config.max_source_tokens);
  GRAFT_TAKE(spec, max_target_tokens, config.max_target_tokens);
  GRAFT_TAKE(spec, validation_fraction, config.validation_fraction);
  GRAFT_TAKE(spec, max_train_rows, config.max_train_rows);
  GRAFT_TAKE(spec, max_validation_rows, config.max_validation_rows);
  return config;
}

FineTuneConfig ToConfig(const v1::FineTuneSpec& resolved) {
  FineTuneConfig config = {ToDataConfig(resolved.data()), ToMethodConfig(resolved.method()),
                           ToConfig(resolved.training()), ToConfig(resolved.evaluation())};
  for (const Method* method : MethodsOf(resolved.method())) {
    const double rate = LearningRateOf(*method, resolved.method());
    if (rate > 0) config.training.learning_rates[method->name()] = rate;
  }
  return config;
}

EvaluateConfig ToConfig(const v1::EvaluateSpec& resolved) {
  EvaluateConfig config;
  config.data = ToDataConfig(resolved.data());
  config.evaluation = ToConfig(resolved.evaluation());
  config.precision = ToPrecision(resolved.precision());
  GRAFT_TAKE(resolved, threads, config.threads);
  GRAFT_TAKE(resolved, batch_size, config.batch_size);
  return config;
}

GenerationConfig ToGenerationConfig(const v1::GenerationOptions& options) {
  GenerationConfig config;
  config.do_sample = options.do_sample();
  GRAFT_TAKE(options, temperature, config.temperature);
  GRAFT_TAKE(options, top_k, config.top_k);
  GRAFT_TAKE(options, top_p, config.top_p);
  GRAFT_TAKE(options, seed, config.seed);
  GRAFT_TAKE(options, num_beams, config.num_beams);
  GRAFT_TAKE(options, length_penalty, config.length_penalty);
  config.early_stopping = ToEarlyStopping(options.early_stopping());
  GRAFT_TAKE(options, repetition_penalty, config.repetition_penalty);
  GRAFT_TAKE(options, no_repeat_ngram_size, config.no_repeat_ngram_size);
  return config;
}

DropoutChoice ToDropoutChoice(const v1::TrainingSpec& resolved) {
  DropoutChoice choice;
  GRAFT_TAKE(resolved, embedding_dropout, choice.embedding);
  GRAFT_TAKE(resolved, attention_dropout, choice.attention);
  GRAFT_TAKE(resolved, residual_dropout, choice.residual);
  return choice;
}

}  // namespace graft
