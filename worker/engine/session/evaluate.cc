#include <c10/core/GradMode.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/evaluation_files.h"
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
  if (record.sums().more_losses.size() != fresh.more_losses.size()) {
    return absl::DataLossError(absl::StrCat("checkpoint ", request.resume_from,
                                            ": has the losses of another number of ", "adapters"));
  }
  record.sums().execution = fresh.execution;
  return record;
}

// Of all passes, as RowsEvent counts them.
int64_t RowsDone(const EvaluationSums& sums) {
  const auto networks = 1 + static_cast<int64_t>(sums.more_losses.size());
  int64_t rows = sums.loss.rows + sums.untuned_loss.rows + sums.rows * networks;
  for (const LossSum& loss : sums.more_losses) rows += loss.rows;
  return rows;
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

// What is scored: the adapters, or one, which has no name.
std::vector<NamedAdapter> AdaptersOf(const EvaluateRequest& request) {
  if (!request.adapters.empty()) return request.adapters;
  return {{"", request.adapter_directory}};
}

// The adapters in memory, nullptr for the untuned model, and their networks. One that does not fit
// is named.
absl::Status LoadNetworks(const LoadedModel& base, const EvaluateRequest& request, Pulse& pulse,
                          std::vector<std::unique_ptr<AdapterSet>>& adapters,
                          std::vector<ScoredNetwork>& networks) {
  const EvaluateConfig& config = request.config;
  const auto load = [&](const NamedAdapter& named, ScoredNetwork& scored) -> absl::Status {
    ASSIGN_OR_RETURN(adapters.emplace_back(), LoadAdapter(*base.model, named.directory));
    scored.network = adapters.back() ? adapters.back()->Bind() : base.model->network();
    return CheckEvaluationFits(base, config.data, config.evaluation,
                               scored.network.num_virtual_tokens());
  };
  for (const NamedAdapter& named : AdaptersOf(request)) {
    pulse.Beat();
    ScoredNetwork& scored = networks.emplace_back();
    scored.adapter = named.name;
    const absl::Status loaded = load(named, scored);
    if (!loaded.ok()) {
      return named.name.empty() ? loaded : Annotate(loaded, absl::StrCat("adapter ", named.name));
    }
    const auto file = [&](const char* name) {
      return JoinPath(request.artifacts_directory, EvaluationFile(named.name, name));
    };
    scored.predictions_path = file(kPredictionsFile);
    scored.row_losses_path = file(kRowLossFile);
    RETURN_IF_ERROR(CreateDirectories(DirectoryOf(scored.predictions_path)));
  }
  return absl::OkStatus();
}

// The data set as it is cut for each network, opened once for each number of virtual tokens.
class TokensOfNetworks {
 public:
  using Open = std::function<absl::StatusOr<std::shared_ptr<const TokenFile>>(const Gpt2Network&)>;
  explicit TokensOfNetworks(Open open) : open_(std::move(open)) {}

  absl::StatusOr<std::shared_ptr<const TokenFile>> Of(const Gpt2Network& network) {
    std::shared_ptr<const TokenFile>& tokens = opened_[network.num_virtual_tokens()];
    if (tokens == nullptr) {
      ASSIGN_OR_RETURN(tokens, open_(network));
    }
    return tokens;
  }

 private:
  const Open open_;
  std::map<int64_t, std::shared_ptr<const TokenFile>> opened_;
};

// What to do with which data, and who hears of it.
EvaluateDataSetOptions MakeOptions(const EvaluateRequest& request, const EvaluateConfig& config,
                                   EventSink& sink) {
  EvaluateDataSetOptions options;
  options.config = config;
  options.data = request.data;
  options.on_rows = [&sink](const RowsEvent& rows) { sink.OnRows(rows); };
  options.on_samples = [&sink](const std::string& adapter,
                               const std::vector<SampleTextEvent>& texts) {
    sink.OnSamples(0, adapter, texts);
  };
  return options;
}

// The files that the evaluation of `networks` left, below the artifacts' directory.
std::vector<std::string> FilesOf(const std::vector<ScoredNetwork>& networks) {
  std::vector<std::string> files;
  for (const ScoredNetwork& scored : networks) {
    files.push_back(EvaluationFile(scored.adapter, kRowLossFile));
    if (!FileExists(scored.predictions_path)) continue;
    files.push_back(EvaluationFile(scored.adapter, kPredictionsFile));
  }
  return files;
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
  std::vector<std::unique_ptr<AdapterSet>> adapters;
  EvaluateDataSetOptions options = MakeOptions(request, config, sink);
  RETURN_IF_ERROR(LoadNetworks(*base, request, stop.pulse(), adapters, options.networks));
  TokensOfNetworks tokens([&](const Gpt2Network& of) {
    return OpenTokenised(
        request.data, config.data, config.data.max_validation_rows,
        MakeDataContext(*base, request.cache_directory, of.num_virtual_tokens(), config.threads),
        stop);
  });
  for (ScoredNetwork& scored : options.networks) {
    ASSIGN_OR_RETURN(scored.tokens, tokens.Of(scored.network));
  }
  const Gpt2Network untuned = base->model->network();
  if (adapters[0] != nullptr && config.evaluation.untuned_baseline) {
    ASSIGN_OR_RETURN(options.untuned_tokens, tokens.Of(untuned));
    options.untuned = &untuned;
  }
  options.tokenizer = base->tokenizer.get();
  EvaluationSums fresh;
  fresh.fingerprint =
      Sha256Hex(absl::StrCat(stage.threads, "\n", base->tokenizer_sha256, "\n", request.identity));
  fresh.execution = ExecutionOf(stage, request.libtorch, request.code_sha256);
  fresh.more_losses.resize(options.networks.size() - 1);
  ASSIGN_OR_RETURN(EvaluationRecord record, OpenRecord(request, std::move(fresh), sink));
  options.record = &record;
  RecordSaver saver(request.checkpoint_directory, record, sink, stop.pulse());
  options.save = [&](bool now) { return saver.Save(now); };
  const bool several = !request.adapters.empty();
  stage.stage = Stage::kEvaluating;
  stage.trainable_parameters =
      several || adapters[0] == nullptr ? 0 : adapters[0]->num_trained_parameters();
  stage.total_parameters = base->model->num_parameters();
  sink.OnStage(stage);
  ASSIGN_OR_RETURN(const std::vector<EvaluationEvent> results, EvaluateDataSet(options, stop));
  for (const EvaluationEvent& result : results) sink.OnEvaluation(result);
  for (size_t i = 0; several && i < results.size(); ++i) {
    outcome->adapters.push_back({results[i], adapters[i]->num_trained_parameters()});
  }
  if (!several) outcome->result = results[0];
  if (!request.checkpoint_directory.empty()) {
    RETURN_IF_ERROR(RemoveTree(request.checkpoint_directory));
  }
  outcome->files = FilesOf(options.networks);
  outcome->trainable_parameters = stage.trainable_parameters;
  outcome->device = DescribeDevice(device_);
  outcome->precision = stage.precision;
  outcome->threads = stage.threads;
  outcome->seconds = absl::ToDoubleSeconds(Clock::Real().Boottime() - start);
  return absl::OkStatus();
}

}  // namespace graft
