#include "common/base/utf8.h"
#include "common/base/version.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {

v1::JobStage ToProto(Stage stage) {
  switch (stage) {
    case Stage::kLoading:
      return v1::JOB_STAGE_LOADING;
    case Stage::kTraining:
      return v1::JOB_STAGE_TRAINING;
    case Stage::kEvaluating:
      return v1::JOB_STAGE_EVALUATING;
    case Stage::kSaving:
      return v1::JOB_STAGE_SAVING;
  }
  return v1::JOB_STAGE_UNSPECIFIED;
}

v1::FailureClass ToProto(FailureClass failure_class) {
  switch (failure_class) {
    case FailureClass::kInfrastructure:
      return v1::FAILURE_CLASS_INFRASTRUCTURE;
    case FailureClass::kConfig:
      return v1::FAILURE_CLASS_CONFIG;
    case FailureClass::kData:
      return v1::FAILURE_CLASS_DATA;
    case FailureClass::kOutOfMemory:
      return v1::FAILURE_CLASS_OUT_OF_MEMORY;
    case FailureClass::kDiverged:
      return v1::FAILURE_CLASS_DIVERGED;
    case FailureClass::kInternal:
      return v1::FAILURE_CLASS_INTERNAL;
  }
  return v1::FAILURE_CLASS_INTERNAL;
}

v1::JobEvent ToProto(const StageEvent& event) {
  v1::JobEvent proto;
  v1::StageChange& change = *proto.mutable_stage_change();
  change.set_stage(ToProto(event.stage));
  change.set_total_steps(event.total_steps);
  change.set_trainable_parameters(event.trainable_parameters);
  change.set_total_parameters(event.total_parameters);
  change.set_device(event.device);
  change.set_precision(event.precision);
  change.set_threads(event.threads);
  change.set_engine_version(kVersion);
  change.set_batch_size(static_cast<int32_t>(event.batch_size));
  change.set_gradient_accumulation_steps(static_cast<int32_t>(event.gradient_accumulation_steps));
  return proto;
}

v1::JobEvent ToProto(const StepEvent& event) {
  v1::JobEvent proto;
  v1::Metrics& metrics = *proto.mutable_metrics();
  metrics.set_step(event.step);
  metrics.set_epoch(event.epoch);
  metrics.set_total_steps(event.total_steps);
  auto& values = *metrics.mutable_values();
  values["train/loss"] = event.loss;
  values["train/grad_norm"] = event.grad_norm;
  values["train/learning_rate"] = event.learning_rate;
  values["train/tokens_per_second"] = event.tokens_per_second;
  return proto;
}

v1::ScoringFingerprint FingerprintOf(const EvaluationEvent& event) {
  v1::ScoringFingerprint fingerprint;
  fingerprint.set_use_stemmer(event.use_stemmer);
  fingerprint.set_sentence_splitter(event.sentence_splitter);
  fingerprint.set_decoding(event.decoding);
  fingerprint.set_precision(event.precision);
  fingerprint.set_max_new_tokens(static_cast<int32_t>(event.max_new_tokens));
  fingerprint.set_max_source_tokens(static_cast<int32_t>(event.max_source_tokens));
  fingerprint.set_num_samples(event.num_samples);
  fingerprint.set_samples_sha256(event.samples_sha256);
  fingerprint.set_truncated_sources(event.truncated_sources);
  return fingerprint;
}

v1::JobEvent ToProto(const EvaluationEvent& event) {
  v1::JobEvent proto;
  v1::EvaluationResult& result = *proto.mutable_evaluation();
  result.set_adapter(event.adapter);
  result.set_step(event.step);
  result.set_epoch(event.epoch);
  result.mutable_values()->insert(event.values.begin(), event.values.end());
  result.set_num_samples(event.num_samples);
  result.set_num_loss_tokens(event.num_loss_tokens);
  result.set_is_best(event.is_best);
  result.set_seconds(event.seconds);
  if (event.num_samples > 0) *result.mutable_fingerprint() = FingerprintOf(event);
  return proto;
}

v1::JobEvent ToProto(const CheckpointEvent& event) {
  v1::JobEvent proto;
  v1::CheckpointSaved& saved = *proto.mutable_checkpoint();
  saved.set_step(event.step);
  for (const CheckpointFile& file : event.files) {
    saved.set_size_bytes(saved.size_bytes() + file.size_bytes);
  }
  return proto;
}

v1::DivergenceAction ToProto(DivergenceAction action) {
  switch (action) {
    case DivergenceAction::kStopped:
      return v1::DIVERGENCE_ACTION_STOPPED;
    case DivergenceAction::kSkipped:
      return v1::DIVERGENCE_ACTION_SKIPPED;
    case DivergenceAction::kRolledBack:
      return v1::DIVERGENCE_ACTION_ROLLED_BACK;
  }
  return v1::DIVERGENCE_ACTION_UNSPECIFIED;
}

v1::JobEvent ToProto(const DivergenceEvent& event) {
  v1::JobEvent proto;
  v1::Divergence& divergence = *proto.mutable_divergence();
  divergence.set_step(event.step);
  divergence.set_loss(event.loss);
  divergence.set_grad_norm(event.grad_norm);
  for (const DivergentRow& row : event.rows) {
    v1::Divergence::Row& to = *divergence.add_rows();
    to.set_row(row.row);
    to.set_line(row.line);
    to.set_id(row.id);
    to.set_source(row.source);
    to.set_loss(row.loss);
    to.set_grad_norm(row.grad_norm);
  }
  divergence.set_action(ToProto(event.action));
  divergence.set_rolled_back_to_step(event.rolled_back_to_step);
  return proto;
}

v1::Execution ToProto(const Execution& execution) {
  v1::Execution proto;
  proto.set_device(execution.device);
  proto.set_cpu_capability(execution.cpu_capability);
  proto.set_precision(execution.precision);
  proto.set_threads(execution.threads);
  proto.set_libtorch(execution.libtorch);
  proto.set_code_sha256(execution.code_sha256);
  return proto;
}

v1::JobEvent ToProto(int64_t step, const std::string& adapter,
                     const std::vector<SampleTextEvent>& texts) {
  v1::JobEvent proto;
  proto.mutable_samples()->set_adapter(adapter);
  proto.mutable_samples()->set_step(step);
  for (const SampleTextEvent& text : texts) {
    v1::SampleText& sample = *proto.mutable_samples()->add_texts();
    sample.set_row(text.row);
    sample.set_source(text.source);
    sample.set_reference(text.reference);
    sample.set_prediction(text.prediction);
  }
  return proto;
}

v1::JobEvent WarningToProto(const std::string& code, const std::string& text) {
  v1::JobEvent proto;
  proto.mutable_warning()->set_code(code);
  proto.mutable_warning()->set_text(ToValidUtf8(text));
  return proto;
}

google::rpc::Status StatusToProto(const absl::Status& status) {
  google::rpc::Status proto;
  proto.set_code(static_cast<int>(status.code()));
  // It may name a file or quote its bytes.
  proto.set_message(ToValidUtf8(status.message()));
  return proto;
}

}  // namespace graft
