#include <algorithm>

#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "worker/engine/data/first_rows.h"
#include "worker/engine/evaluation/evaluation_time.h"
#include "worker/engine/evaluation/summaries.h"
#include "worker/engine/gpt2/tensor_memory.h"
#include "worker/engine/session/fine_tune_run.h"
#include "worker/engine/training/step_times.h"
#include "worker/engine/training/validation_loss.h"

namespace graft {
namespace {

// Of what is left when the data are there; the rest is the evaluation's.
constexpr double kShareOfSteps = 0.6;
// Of what is left then: for the loss, and for reading the prompts of texts.
constexpr double kShareOfLoss = 0.3;
constexpr double kShareOfPrompts = 0.3;

// Nobody is told of a run that is only tried.
class NoSink : public EventSink {
 public:
  void OnStage(const StageEvent&) override {}
  void OnStep(const StepEvent&) override {}
  void OnEvaluation(const EvaluationEvent&) override {}
  void OnCheckpoint(const CheckpointEvent&) override {}
  void OnSamples(int64_t, const std::string&, const std::vector<SampleTextEvent>&) override {}
  void OnWarning(const std::string&, const std::string&) override {}
};

// How many of these rows can be done in that time.
int64_t RowsWithin(absl::Duration time, double seconds_per_row, int64_t rows) {
  const double fit = absl::ToDoubleSeconds(time) / seconds_per_row;
  return fit < static_cast<double>(rows) ? std::max(static_cast<int64_t>(fit), int64_t{1}) : rows;
}

// Of a batch for the loss.
int64_t LossRows(const FineTuneConfig& config, double seconds_per_token, absl::Duration left) {
  const int64_t max_tokens = config.data.max_source_tokens + config.data.max_target_tokens;
  return RowsWithin(left * kShareOfLoss, seconds_per_token * static_cast<double>(max_tokens),
                    config.training.batch_size);
}

// A batch for the loss and one of the first texts of an evaluation, or as many rows of them as
// there is time for. A token takes less than it does in training, which has a backward pass.
absl::StatusOr<EvaluationSample> SampleOf(const FineTuneConfig& config, const LoadedModel& base,
                                          const TrainingData& data, double seconds_per_token,
                                          absl::Duration left, Pulse& pulse) {
  EvaluationSample sample;
  sample.tokenizer = base.tokenizer.get();
  sample.validation = data.validation.get();
  sample.batch_size = config.training.batch_size;
  sample.data = config.data;
  sample.evaluation = config.evaluation;
  const auto rows = static_cast<int64_t>(data.validation_rows.size());
  const int64_t wanted = config.evaluation.max_samples;
  sample.num_texts = wanted < 0 ? rows : std::min(wanted, rows);
  sample.num_loss_rows = LossRows(config, seconds_per_token, left);
  int64_t batch = std::min(sample.num_texts, config.evaluation.generation_batch_size);
  if (batch == 0) return sample;
  batch = RowsWithin(left * kShareOfPrompts,
                     seconds_per_token * static_cast<double>(config.data.max_source_tokens), batch);
  ASSIGN_OR_RETURN(sample.rows,
                   ReadRows(data.validation_file, config.data, data.validation_rows, batch, pulse));
  return sample;
}

// Where the best evaluation's tensors are kept beside those that train.
int64_t BytesOf(const AdapterSet& adapter) {
  int64_t bytes = 0;
  for (const TrainedTensor& trained : adapter.tensors()) bytes += trained.tensor.nbytes();
  return bytes;
}

// Adds up what evaluations take, as long as `stop` allows.
struct EvaluationTimes {
  absl::Status Add(const Gpt2Network& network, const EvaluationSample& sample, int64_t times,
                   StopToken& stop, Clock& clock) {
    const absl::StatusOr<EvaluationTime> one = MeasureEvaluation(network, sample, stop, clock);
    known = known && one.ok();
    if (!one.ok()) return absl::IsCancelled(one.status()) ? absl::OkStatus() : one.status();
    peak_bytes = std::max(peak_bytes, one->peak_bytes);
    seconds += one->seconds * static_cast<double>(times);
    return absl::OkStatus();
  }

  double seconds = 0;
  int64_t peak_bytes = 0;
  bool known = true;  // All of them.
};

}  // namespace

absl::Status EngineSession::Impl::Measure(const FineTuneRequest& request, double within_seconds,
                                          StopToken& stop, MeasureOutcome* outcome) {
  Clock& clock = Clock::Real();
  const absl::Duration start = clock.Boottime();
  NoSink sink;
  FineTuneRun run(*this, request, sink, stop);
  RETURN_IF_ERROR(run.Prepare());
  const absl::Duration ready = clock.Boottime();
  outcome->data_seconds = absl::ToDoubleSeconds(ready - start);
  outcome->execution = run.execution;

  TrainerOptions options;
  options.config = run.config.training;
  options.execution = run.execution;
  const absl::Duration left = absl::Seconds(within_seconds) - (ready - start);
  ASSIGN_OR_RETURN(const StepTimes steps, MeasureSteps({options, *run.data.train, *run.adapter,
                                                        nullptr, sink, stop, clock},
                                                       left * kShareOfSteps));
  int64_t peak_bytes = steps.peak_bytes;
  outcome->batch_size = steps.batch_size;
  outcome->gradient_accumulation_steps = steps.micro_batches;
  outcome->step_seconds = steps.step_seconds;
  outcome->train_seconds = steps.step_seconds * static_cast<double>(steps.total_steps);
  const Gpt2Network network = run.adapter->Bind();
  const auto left_now = [&] { return absl::Seconds(within_seconds) - (clock.Boottime() - start); };
  EvaluationTimes evaluations;
  if (run.data.validation != nullptr) {
    peak_bytes += BytesOf(*run.adapter);
    ASSIGN_OR_RETURN(const EvaluationSample sample,
                     SampleOf(run.config, *run.base, run.data, steps.seconds_per_token, left_now(),
                              stop.pulse()));
    RETURN_IF_ERROR(evaluations.Add(network, sample, steps.num_evaluations, stop, clock));
  }
  if (run.config.evaluation.train_row_losses) {
    const FirstRows told(*run.data.train,
                         EndOfToldRows(*run.data.train, network.num_prompt_rows()));
    EvaluationSample sample;
    sample.validation = &told;
    sample.batch_size = run.config.training.batch_size;
    sample.num_loss_rows = LossRows(run.config, steps.seconds_per_token, left_now());
    RETURN_IF_ERROR(evaluations.Add(network, sample, 1, stop, clock));
  }
  peak_bytes = std::max(peak_bytes, evaluations.peak_bytes);
  if (evaluations.known) outcome->evaluate_seconds = evaluations.seconds;
  // On a CPU a process keeps more than its tensors' peak: blocks that were freed and fit nothing.
  outcome->peak_memory_bytes =
      std::max(peak_bytes + BytesBesideTensors(device_), BytesHeld(device_));
  return absl::OkStatus();
}

}  // namespace graft
