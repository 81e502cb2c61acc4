#include "worker/engine/run/job_run.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/evaluation_files.h"
#include "common/formats/graft_json.h"
#include "common/jobs/artifacts.h"
#include "common/jobs/continuation.h"
#include "common/jobs/job_spec.h"
#include "common/methods/adapter_files.h"
#include "common/methods/method_spec.h"
#include "worker/engine/run/build_info.h"
#include "worker/engine/run/result_files.h"
#include "worker/engine/run/spec_bridge.h"

namespace graft {
namespace {

// The same message gives the same bytes.
std::string Deterministic(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

absl::Status AddArtifacts(const std::string& directory, const std::vector<std::string>& paths,
                          google::protobuf::RepeatedPtrField<v1::Artifact>* artifacts) {
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const ManifestFile file, DescribeFile(directory, path));
    *artifacts->Add() = ToArtifact(file);
  }
  return absl::OkStatus();
}

// Also ends what is asked when a time is over.
class TimedStop : public StopToken {
 public:
  TimedStop(StopToken& inner, absl::Duration within)
      : inner_(inner), end_(Clock::Real().Boottime() + within) {}

  absl::Status Poll() override {
    RETURN_IF_ERROR(inner_.Poll());
    inner_.pulse().Beat();
    return Clock::Real().Boottime() < end_ ? absl::OkStatus()
                                           : absl::CancelledError("its time is over");
  }

 private:
  StopToken& inner_;
  const absl::Duration end_;
};

FineTuneRequest MakeRequest(const engine::v1::Run& run, const v1::FineTuneSpec& spec) {
  FineTuneRequest request;
  request.config = ToConfig(spec);
  request.dropout = ToDropoutChoice(spec.training());
  request.base_model = {run.base_model_directory(), run.base_model_sha256()};
  request.base_model_name =
      run.base_model_name().empty() ? run.base_model_directory() : run.base_model_name();
  request.init_from_directory = run.adapter_directory();
  request.train = {run.train_file(), spec.data().train_sha256(), spec.data().train()};
  request.validation = {run.validation_file(), spec.data().validation_sha256(),
                        spec.data().validation()};
  request.cache_directory = run.cache_directory();
  request.output_directory = JoinPath(run.work_directory(), "output");
  request.artifacts_directory = JoinPath(run.work_directory(), "artifacts");
  request.checkpoint_directory = JoinPath(run.work_directory(), "checkpoints");
  request.resume_from = run.checkpoint_directory();
  request.identity = Deterministic(FixedPart(spec));
  v1::FineTuneSpec whole = spec;
  v1::CheckpointPolicy& policy = *whole.mutable_training()->mutable_checkpoint();
  policy.clear_every_seconds();  // Builds that wrote this identity had neither.
  policy.clear_keep_best();
  request.earlier_identity = Deterministic(whole);
  if (ContinuesJob(spec)) request.continues = spec.init_from();
  request.pause_at_step = run.pause_at_step();
  request.allow_migration = run.allow_migration();
  request.libtorch = kLibTorchVersion;
  request.code_sha256 = kCodeSha256;
  return request;
}

absl::Status FineTune(const engine::v1::Run& run, EngineSession& session, ProtoEventSink& sink,
                      StopToken& stop, engine::v1::Finished* finished) {
  const v1::FineTuneSpec& spec = run.resolved_spec().fine_tune();
  const FineTuneRequest request = MakeRequest(run, spec);
  ASSIGN_OR_RETURN(FineTuneOutcome outcome, session.FineTune(request, sink, stop));
  v1::JobResult& result = *finished->mutable_result();
  (MakesModel(spec.method()) ? *result.mutable_model() : *result.mutable_adapter()) =
      spec.output_name();
  result.set_best_step(outcome.best_step);
  result.mutable_metrics()->insert(outcome.best.values.begin(), outcome.best.values.end());
  if (outcome.best.num_samples > 0) *result.mutable_fingerprint() = FingerprintOf(outcome.best);
  result.set_train_seconds(outcome.seconds);
  result.set_trainable_parameters(outcome.trainable_parameters);
  result.set_stopped_early(outcome.stopped_early);
  RETURN_IF_ERROR(
      AddArtifacts(request.output_directory, outcome.files, finished->mutable_output()));
  int64_t size_bytes = 0;
  for (const v1::Artifact& file : finished->output()) size_bytes += file.size_bytes();
  result.set_adapter_size_bytes(size_bytes);
  if (!MakesModel(spec.method())) {
    AdapterWriteOptions options;
    options.base_model_name = request.base_model_name;
    ASSIGN_OR_RETURN(*finished->mutable_peft_snippet(),
                     PeftSnippet(ToMethodConfig(spec.method()), options, spec.output_name()));
  }
  RETURN_IF_ERROR(WriteFileAtomically(JoinPath(request.output_directory, kGraftJson),
                                      GraftJson(run, outcome, *finished)));
  RETURN_IF_ERROR(
      AddArtifacts(request.artifacts_directory, outcome.artifacts, finished->mutable_artifacts()));
  return AddArtifacts(request.output_directory, {kGraftJson}, finished->mutable_output());
}

EvaluateRequest MakeEvaluateRequest(const engine::v1::Run& run, const v1::EvaluateSpec& spec) {
  EvaluateRequest request;
  request.config = ToConfig(spec);
  request.base_model = {run.base_model_directory(), run.base_model_sha256()};
  request.adapter_directory = run.adapter_directory();
  for (int i = 0; i < spec.adapters_size(); ++i) {
    request.adapters.push_back({spec.adapters(i), run.adapter_directories(i)});
  }
  request.data = {run.validation_file(), spec.data().validation_sha256(), spec.data().validation()};
  request.cache_directory = run.cache_directory();
  request.artifacts_directory = JoinPath(run.work_directory(), "artifacts");
  request.checkpoint_directory = JoinPath(run.work_directory(), "checkpoints");
  request.resume_from = run.checkpoint_directory();
  request.identity = Deterministic(spec);
  request.allow_migration = run.allow_migration();
  request.libtorch = kLibTorchVersion;
  request.code_sha256 = kCodeSha256;
  return request;
}

// JobResult's or AdapterResult's.
template <typename Result>
void SetScores(const EvaluationEvent& scores, int64_t trainable_parameters, Result& result) {
  result.mutable_metrics()->insert(scores.values.begin(), scores.values.end());
  if (scores.num_samples > 0) *result.mutable_fingerprint() = FingerprintOf(scores);
  result.set_trainable_parameters(trainable_parameters);
}

absl::Status Evaluate(const engine::v1::Run& run, EngineSession& session, ProtoEventSink& sink,
                      StopToken& stop, engine::v1::Finished* finished) {
  const v1::EvaluateSpec& spec = run.resolved_spec().evaluate();
  if (spec.adapters_size() != run.adapter_directories_size()) {
    return absl::InvalidArgumentError(absl::StrCat("the run has ", run.adapter_directories_size(),
                                                   " directories of adapters for ",
                                                   spec.adapters_size()));
  }
  const EvaluateRequest request = MakeEvaluateRequest(run, spec);
  ASSIGN_OR_RETURN(EvaluateOutcome outcome, session.Evaluate(request, sink, stop));
  v1::JobResult& result = *finished->mutable_result();
  const auto write_results = [&](const std::string& adapter, const std::string& json) {
    outcome.files.push_back(EvaluationFile(adapter, kResultsFile));
    return WriteFileAtomically(JoinPath(request.artifacts_directory, outcome.files.back()), json);
  };
  for (int i = 0; i < spec.adapters_size(); ++i) {
    v1::AdapterResult& of_adapter = *result.add_adapters();
    of_adapter.set_adapter(spec.adapters(i));
    const AdapterOutcome& scored = outcome.adapters[static_cast<size_t>(i)];
    SetScores(scored.result, scored.trainable_parameters, of_adapter);
    RETURN_IF_ERROR(write_results(spec.adapters(i), ResultsJson(run, outcome, i)));
  }
  if (spec.adapters().empty()) {
    SetScores(outcome.result, outcome.trainable_parameters, result);
    RETURN_IF_ERROR(write_results("", ResultsJson(run, outcome)));
  }
  result.set_train_seconds(0);
  return AddArtifacts(request.artifacts_directory, outcome.files, finished->mutable_artifacts());
}

}  // namespace

engine::v1::Finished FailedToRun(const absl::Status& status) {
  engine::v1::Finished finished;
  *finished.mutable_status() = StatusToProto(status);
  finished.set_paused(IsPaused(status));
  if (!status.ok() && !absl::IsCancelled(status)) {
    finished.set_failure_class(ToProto(FailureClassOf(status)));
  }
  return finished;
}

engine::v1::Finished RunJob(const engine::v1::Run& run, EngineSession& session,
                            ProtoEventSink& sink, StopToken& stop) {
  engine::v1::Finished finished;
  session.SetMemoryBudget(run.memory_budget_bytes());
  const absl::Status status = run.resolved_spec().has_evaluate()
                                  ? Evaluate(run, session, sink, stop, &finished)
                                  : FineTune(run, session, sink, stop, &finished);
  if (!status.ok()) return FailedToRun(status);
  *finished.mutable_status() = StatusToProto(status);
  return finished;
}

absl::StatusOr<v1::JobMeasurement> MeasureJob(const engine::v1::Measure& measure,
                                              EngineSession& session, StopToken& stop) {
  const engine::v1::Run& run = measure.run();
  if (!run.resolved_spec().has_fine_tune()) {
    return absl::UnimplementedError("only fine-tune jobs are measured");
  }
  session.SetMemoryBudget(run.memory_budget_bytes());
  const FineTuneRequest request = MakeRequest(run, run.resolved_spec().fine_tune());
  TimedStop timed(stop, absl::Seconds(measure.within_seconds()));
  const absl::StatusOr<MeasureOutcome> measured =
      session.Measure(request, measure.within_seconds(), timed);
  if (absl::IsCancelled(measured.status()) && stop.Poll().ok()) {
    return absl::DeadlineExceededError(
        absl::StrCat("to load, read and tokenise took more than the ", measure.within_seconds(),
                     " s that there were"));
  }
  RETURN_IF_ERROR(measured.status());
  const MeasureOutcome& outcome = *measured;
  v1::JobMeasurement measurement;
  *measurement.mutable_execution() = ToProto(outcome.execution);
  measurement.set_peak_memory_bytes(outcome.peak_memory_bytes);
  measurement.set_memory_budget_bytes(run.memory_budget_bytes());
  measurement.set_batch_size(static_cast<int32_t>(outcome.batch_size));
  measurement.set_gradient_accumulation_steps(
      static_cast<int32_t>(outcome.gradient_accumulation_steps));
  measurement.set_data_seconds(outcome.data_seconds);
  measurement.set_step_seconds(outcome.step_seconds);
  measurement.set_train_seconds(outcome.train_seconds);
  if (outcome.evaluate_seconds.has_value()) {
    measurement.set_evaluate_seconds(*outcome.evaluate_seconds);
    measurement.set_seconds(outcome.data_seconds + outcome.train_seconds +
                            *outcome.evaluate_seconds);
  }
  return measurement;
}

}  // namespace graft
