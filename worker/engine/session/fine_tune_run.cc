#include "worker/engine/session/fine_tune_run.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/formats/model_folder.h"
#include "common/formats/row_loss_file.h"
#include "worker/engine/data/first_rows.h"
#include "worker/engine/evaluation/row_counter.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/schedule.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {
namespace {

constexpr int64_t kMaxTokenizerFileBytes = int64_t{256} << 20;

bool Validates(const FineTuneRequest& request) {
  return request.config.data.validation_fraction > 0 || !request.validation.path.empty();
}

// What the spec leaves open is the model's own where it trains, else 0: the embeddings only with
// `full`, attention and residuals with trained blocks.
void ResolveDropout(const DropoutChoice& choice, const Gpt2Config& model,
                    const MethodConfig& method, TrainingConfig* training) {
  const bool blocks_train = NumWholeBlocks(method, model.n_layer) > 0;
  training->embedding_dropout =
      choice.embedding.value_or(MakesModel(method) ? model.embd_pdrop : 0);
  training->attention_dropout = choice.attention.value_or(blocks_train ? model.attn_pdrop : 0);
  training->residual_dropout = choice.residual.value_or(blocks_train ? model.resid_pdrop : 0);
}

void WarnAboutCuts(const DataSetFile& file, const TokenCounts& counts, const DataConfig& config,
                   EventSink& sink) {
  if (counts.sources_cut > 0 || counts.targets_cut > 0) {
    sink.OnWarning("ROWS_TRUNCATED",
                   absl::StrCat(file.label(), ": of ", counts.rows, " rows, ", counts.sources_cut,
                                " sources were cut to prompts of ", config.max_source_tokens,
                                " tokens or what the model has room for, and ", counts.targets_cut,
                                " targets to ", config.max_target_tokens, " tokens"));
  }
  if (counts.empty_sources > 0 || counts.empty_targets > 0) {
    sink.OnWarning("ROWS_EMPTY",
                   absl::StrCat(file.label(), ": ", counts.empty_sources, " sources and ",
                                counts.empty_targets, " targets are empty"));
  }
}

// Of what is done when the training is over: for a pause it is too late, as while the adapter is
// saved. What was trained since the last checkpoint would be lost.
class UnlessPaused : public StopToken {
 public:
  explicit UnlessPaused(StopToken& stop) : stop_(stop) {}
  absl::Status Poll() override {
    const absl::Status asked = stop_.Poll();
    return IsPaused(asked) ? absl::OkStatus() : asked;
  }

 private:
  StopToken& stop_;
};

}  // namespace

EngineSession::Impl::FineTuneRun::FineTuneRun(Impl& session, const FineTuneRequest& request,
                                              EventSink& sink, StopToken& stop)
    : session(session), request(request), sink(sink), stop(stop), config(request.config) {}

void EngineSession::Impl::FineTuneRun::EnterStage(Stage next) {
  stage.stage = next;
  sink.OnStage(stage);
}

absl::Status EngineSession::Impl::FineTuneRun::Prepare() {
  TrainingConfig& training = config.training;
  if (!request.resume_from.empty()) {
    const absl::StatusOr<Execution> begun = ReadExecution(request.resume_from);
    GoOnAsBegun(begun, training.precision, training.threads);
    if (begun.ok() && begun->batch_size > 0) {
      stage.batch_size = begun->batch_size;
      stage.gradient_accumulation_steps =
          MakeStepPlan(training, /*num_rows=*/1).micro_batches(begun->batch_size);
    }
  }
  training.threads = session.UseThreads(training.threads);
  stage.device = session.DeviceName();
  stage.threads = training.threads;
  stage.precision = PrecisionName(ResolvePrecision(training.precision, session.device_));
  execution = session.ExecutionOf(stage, request.libtorch, request.code_sha256);
  EnterStage(Stage::kLoading);
  ASSIGN_OR_RETURN(base, session.Load(request.base_model, training.precision, stop.pulse()));
  ResolveDropout(request.dropout, base->model->config(), config.method, &training);
  RETURN_IF_ERROR(ReadTokenizerFiles());
  RETURN_IF_ERROR(MakeAdapter());
  if (Validates(request)) {
    RETURN_IF_ERROR(CheckEvaluationFits(*base, config.data, config.evaluation,
                                        NumVirtualTokens(config.method)));
  }
  ASSIGN_OR_RETURN(data,
                   PrepareTrainingData(
                       request.train, request.validation, config.data, training.seed,
                       session.MakeDataContext(*base, request.cache_directory,
                                               NumVirtualTokens(config.method), training.threads),
                       stop));
  if (request.resume_from.empty()) {  // Else the run that began has said it.
    WarnAboutCuts(request.train, data.train_counts, config.data, sink);
    WarnAboutCuts(request.validation, data.validation_counts, config.data, sink);
  }
  stage.total_steps = TotalSteps(training, data.train->size());
  stage.trainable_parameters = adapter->num_trained_parameters();
  stage.total_parameters = base->model->num_parameters();
  session.MeasureMemory();
  return absl::OkStatus();
}

absl::Status EngineSession::Impl::FineTuneRun::MakeAdapter() {
  RETURN_IF_ERROR(ReadMethodTexts(
      [this](const std::string& text) { return base->tokenizer->Encode(text); }, config.method));
  ASSIGN_OR_RETURN(adapter, AdapterSet::Create(*base->model, config.method, config.training.seed));
  if (request.init_from_directory.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<AdapterSet> initial,
                   LoadAdapter(*base->model, request.init_from_directory));
  return adapter->CopyFrom(*initial);
}

absl::Status EngineSession::Impl::FineTuneRun::ReadTokenizerFiles() {
  if (!MakesModel(config.method)) return absl::OkStatus();
  for (const char* name : kTokenizerFiles) {
    const std::string path = JoinPath(request.base_model.directory, name);
    if (!FileExists(path)) continue;
    ASSIGN_OR_RETURN(tokenizer_files[name], ReadFile(path, kMaxTokenizerFileBytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> EngineSession::Impl::FineTuneRun::Save() const {
  const std::string& directory = request.output_directory;
  for (const auto& [name, content] : tokenizer_files) {
    RETURN_IF_ERROR(WriteFileAtomically(JoinPath(directory, name), content));
  }
  return adapter->Save(directory, {request.base_model_name, directory, &stop.pulse()});
}

std::string EngineSession::Impl::FineTuneRun::Fingerprint(const std::string& identity) const {
  return Sha256Hex(absl::StrCat(stage.threads, "\n", base->tokenizer_sha256, "\n", identity));
}

absl::StatusOr<TrainingResult> EngineSession::Impl::FineTuneRun::Train() {
  std::unique_ptr<TrainingEvaluator> evaluator;
  if (data.validation != nullptr) {
    TrainingEvaluatorOptions options;
    options.tokenizer = base->tokenizer.get();
    options.validation = data.validation.get();
    options.batch_size = config.training.batch_size;
    options.data = config.data;
    options.evaluation = config.evaluation;
    options.validation_file = data.validation_file;
    options.validation_rows = data.validation_rows;
    options.on_stage = [this](Stage next) { EnterStage(next); };
    options.fingerprint = Fingerprint(request.earlier_identity);
    options.execution = execution;
    ASSIGN_OR_RETURN(evaluator, TrainingEvaluator::Create(std::move(options), sink, stop));
    ASSIGN_OR_RETURN(row_losses, RowLossFile::Open(data.validation_file, config.data));
  }
  if (config.evaluation.train_row_losses) {
    ASSIGN_OR_RETURN(train_row_losses, RowLossFile::Open(request.train, config.data));
  }
  TrainerOptions options;
  options.config = config.training;
  options.checkpoint_directory = request.checkpoint_directory;
  options.resume_from = request.resume_from;
  options.fingerprint = Fingerprint(request.identity);
  options.earlier_fingerprint = Fingerprint(request.earlier_identity);
  options.continues = request.continues;
  options.on_micro_batch = [this](int64_t rows, int64_t micro_batches) {
    stage.batch_size = rows;
    stage.gradient_accumulation_steps = micro_batches;
    EnterStage(Stage::kTraining);
  };
  options.describe_rows = [this](std::vector<DivergentRow>& rows) {
    DescribeRows(request.train, config.data, rows, stop.pulse());
  };
  options.pause_at_step = request.pause_at_step;
  options.saves_at_end = config.evaluation.train_row_losses;
  options.allow_migration = request.allow_migration;
  options.execution = execution;
  return graft::Train(options, *data.train, *adapter, evaluator.get(), sink, stop);
}

absl::StatusOr<std::vector<std::string>> EngineSession::Impl::FineTuneRun::WriteRowLosses(
    const EvaluationEvent& best) {
  if (!row_losses || best.values.empty()) return std::vector<std::string>();
  std::vector<RowLoss> rows;
  if (best.row_losses != nullptr) {
    rows = *best.row_losses;
  } else {
    UnlessPaused unless_paused(stop);
    ASSIGN_OR_RETURN(rows, ComputeRowLosses(adapter->Bind(), *data.validation,
                                            config.training.batch_size, unless_paused));
  }
  RETURN_IF_ERROR(CreateDirectories(request.artifacts_directory));
  RETURN_IF_ERROR(row_losses->Write(JoinPath(request.artifacts_directory, kRowLossFile),
                                    *data.validation, rows, {}, stop.pulse()));
  return std::vector<std::string>{kRowLossFile};
}

absl::StatusOr<std::vector<std::string>> EngineSession::Impl::FineTuneRun::WriteTrainRowLosses() {
  if (!train_row_losses) return std::vector<std::string>();
  EnterStage(Stage::kEvaluating);
  const Gpt2Network network = adapter->Bind();
  const FirstRows told(*data.train, EndOfToldRows(*data.train, network.num_prompt_rows()));
  RowCounter counter(told.size(), [this](const RowsEvent& rows) { sink.OnRows(rows); });
  counter.BeginPass(told.size());
  ASSIGN_OR_RETURN(const std::vector<RowLoss> rows,
                   ComputeRowLosses(network, told, config.training.batch_size, stop,
                                    [&counter](int64_t done) { counter.Add(done); }));
  RETURN_IF_ERROR(CreateDirectories(request.artifacts_directory));
  RETURN_IF_ERROR(train_row_losses->Write(JoinPath(request.artifacts_directory, kTrainRowLossFile),
                                          told, rows, {}, stop.pulse()));
  return std::vector<std::string>{kTrainRowLossFile};
}

}  // namespace graft
