#include <c10/core/GradMode.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/row_loss_file.h"
#include "worker/engine/evaluation/evaluate_data_set.h"
#include "worker/engine/evaluation/evaluation_record.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/session/session_impl.h"
#include "worker/engine/training/checkpoints.h"
#include "worker/engine/training/resumption.h"

namespace graft {
namespace {

// The checkpoint whose files are being fetched, and the one that is written.
constexpr int64_t kKeepLast = 2;

std::string RecordPath(const std::string& checkpoint) {
  return JoinPath(checkpoint, "evaluation.jsonl");
}

absl::StatusOr<Execution> ExecutionOfRecord(const std::string& checkpoint) {
  return ReadEvaluationExecution(RecordPath(checkpoint));
}

// The record that the evaluation goes on from, or a new one like `fresh`.
absl::StatusOr<EvaluationRecord> OpenRecord(const EvaluateRequest& request, EvaluationSums fresh,
                                            EventSink& sink) {
  if (request.resume_from.empty()) return EvaluationRecord(std::move(fresh));
  ASSIGN_OR_RETURN(EvaluationRecord record,
                   EvaluationRecord::Open(RecordPath(request.resume_from), fresh.fingerprint));
  const absl::StatusOr<std::string> changed =
      CheckSameExecution(record.sums().execution, fresh.execution, request.allow_migration);
  if (!changed.ok()) {
    return Annotate(changed.status(), absl::StrCat("checkpoint ", request.resume_from));
  }
  if (!changed->empty()) {
    sink.OnWarning("NOT_BIT_EXACT",
                   absl::StrCat("goes on from row ", record.sums().rows, " with ", *changed,
                                ": the last bits may differ from those of a run without it"));
  }
  record.sums().execution = fresh.execution;
  return record;
}

int64_t RowsDone(const EvaluationSums& sums) {
  return sums.loss.rows + sums.untuned_loss.rows + sums.rows;
}

// Saves an evaluation's record, when it is time.
class RecordSaver {
 public:
  RecordSaver(std::string directory, EvaluationRecord& record, EventSink& sink, Pulse& pulse)
      : directory_(std::move(directory)),
        record_(record),
        sink_(sink),
        pulse_(pulse),
        saved_rows_(RowsDone(record.sums())) {}

  absl::Status Save(bool now) {
    const int64_t rows = RowsDone(record_.sums());
    const absl::Duration time = Clock::Real().Boottime();
    if (directory_.empty() || rows == saved_rows_) return absl::OkStatus();
    if (!now && time - saved_at_ < IntervalOfSaves(kEvaluationSaveInterval, save_time_)) {
      return absl::OkStatus();
    }
    CheckpointEvent event;
    event.step = rows;
    event.directory = JoinPath(directory_, absl::StrCat(rows));
    ASSIGN_OR_RETURN(CheckpointFile file, record_.Save(RecordPath(event.directory), pulse_));
    event.files.push_back(std::move(file));
    event.execution = record_.sums().execution;
    saved_rows_ = rows;
    saved_at_ = Clock::Real().Boottime();
    save_time_ = saved_at_ - time;
    sink_.OnCheckpoint(event);
    return RemoveOldCheckpoints(directory_, rows, kKeepLast, "");
  }

 private:
  const std::string directory_;  // Empty: nothing is saved.
  EvaluationRecord& record_;
  EventSink& sink_;
  Pulse& pulse_;
  int64_t saved_rows_;
  absl::Duration saved_at_ = Clock::Real().Boottime();
  absl::Duration save_time_;  // What it took.
};

// What to do with which data, and where it goes.
EvaluateDataSetOptions MakeOptions(const EvaluateRequest& request, const EvaluateConfig& config,
                                   EventSink& sink) {
  EvaluateDataSetOptions options;
  options.config = config;
  options.data = request.data;
  options.predictions_path = JoinPath(request.artifacts_directory, "predictions.jsonl");
  options.row_losses_path = JoinPath(request.artifacts_directory, kRowLossFile);
  options.on_rows = [&sink](const RowsEvent& rows) { sink.OnRows(rows); };
  options.on_samples = [&sink](const std::vector<SampleTextEvent>& texts) {
    sink.OnSamples(0, texts);
  };
  return options;
}

}  // namespace

absl::Status EngineSession::Impl::Evaluate(const EvaluateRequest& request, EventSink& sink,
                                           StopToken& stop, EvaluateOutcome* outcome) {
  const c10::NoGradGuard no_grad;
  const absl::Duration start = Clock::Real().Boottime();
  EvaluateConfig config = request.config;
  if (!request.resume_from.empty()) {
    GoOnAsBegun(ExecutionOfRecord(request.resume_from), config.precision, config.threads);
  }
  config.threads = UseThreads(config.threads);
  StageEvent stage;
  stage.device = DeviceName();
  stage.precision = PrecisionName(ResolvePrecision(config.precision, device_));
  stage.threads = config.threads;
  sink.OnStage(stage);
  RETURN_IF_ERROR(CreateDirectories(request.artifacts_directory));
  ASSIGN_OR_RETURN(const std::shared_ptr<const LoadedModel> base,
                   Load(request.base_model, config.precision, stop.pulse()));
  ASSIGN_OR_RETURN(const std::unique_ptr<AdapterSet> adapter,
                   LoadAdapter(*base->model, request.adapter_directory));
  const Gpt2Network untuned = base->model->network();
  const Gpt2Network network = adapter ? adapter->Bind() : untuned;
  RETURN_IF_ERROR(
      CheckEvaluationFits(*base, config.data, config.evaluation, network.num_virtual_tokens()));

  const auto open = [&](const Gpt2Network& of) {
    return OpenTokenised(
        request.data, config.data, config.data.max_validation_rows,
        MakeDataContext(*base, request.cache_directory, of.num_virtual_tokens(), config.threads),
        stop);
  };
  EvaluateDataSetOptions options = MakeOptions(request, config, sink);
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenFile> tokens, open(network));
  std::shared_ptr<const TokenFile> untuned_tokens;
  if (adapter != nullptr && config.evaluation.untuned_baseline) {
    ASSIGN_OR_RETURN(untuned_tokens, open(untuned));
    options.untuned = &untuned;
    options.untuned_tokens = untuned_tokens.get();
  }
  options.tokenizer = base->tokenizer.get();
  options.tokens = tokens.get();
  const std::string fingerprint =
      Sha256Hex(absl::StrCat(stage.threads, "\n", base->tokenizer_sha256, "\n", request.identity));
  const Execution execution = ExecutionOf(stage, request.libtorch, request.code_sha256);
  ASSIGN_OR_RETURN(EvaluationRecord record,
                   OpenRecord(request, {fingerprint, execution, {}, {}, 0}, sink));
  options.record = &record;
  RecordSaver saver(request.checkpoint_directory, record, sink, stop.pulse());
  options.save = [&](bool now) { return saver.Save(now); };
  stage.stage = Stage::kEvaluating;
  stage.trainable_parameters = adapter ? adapter->num_trained_parameters() : 0;
  stage.total_parameters = base->model->num_parameters();
  sink.OnStage(stage);
  ASSIGN_OR_RETURN(outcome->result, EvaluateDataSet(network, options, stop));
  sink.OnEvaluation(outcome->result);
  if (!request.checkpoint_directory.empty()) {
    RETURN_IF_ERROR(RemoveTree(request.checkpoint_directory));
  }
  outcome->files = {kRowLossFile};
  if (FileExists(options.predictions_path)) outcome->files.emplace_back("predictions.jsonl");
  outcome->trainable_parameters = stage.trainable_parameters;
  outcome->device = DescribeDevice(device_);
  outcome->precision = stage.precision;
  outcome->threads = stage.threads;
  outcome->seconds = absl::ToDoubleSeconds(Clock::Real().Boottime() - start);
  return absl::OkStatus();
}

}  // namespace graft
