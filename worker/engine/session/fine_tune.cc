#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/session/fine_tune_run.h"

namespace graft {

absl::Status EngineSession::CheckCheckpoint(const std::string& directory) {
  Pulse unheard;
  return CheckTrainingState(directory, unheard).status();
}

absl::Status EngineSession::Impl::FineTune(const FineTuneRequest& request, EventSink& sink,
                                           StopToken& stop, FineTuneOutcome* outcome) {
  RETURN_IF_ERROR(MakeEmptyDirectory(request.output_directory));
  RETURN_IF_ERROR(CreateDirectories(request.checkpoint_directory));
  FineTuneRun run(*this, request, sink, stop);
  RETURN_IF_ERROR(run.Prepare());
  run.EnterStage(Stage::kTraining);

  const absl::Duration start = Clock::Real().Boottime();
  ASSIGN_OR_RETURN(const TrainingResult result, run.Train());
  outcome->seconds = absl::ToDoubleSeconds(Clock::Real().Boottime() - start);
  ASSIGN_OR_RETURN(const std::vector<std::string> of_training, run.WriteTrainRowLosses());
  run.EnterStage(Stage::kSaving);
  ASSIGN_OR_RETURN(outcome->files, run.Save());
  ASSIGN_OR_RETURN(outcome->artifacts, run.WriteRowLosses(result.best));
  outcome->artifacts.insert(outcome->artifacts.end(), of_training.begin(), of_training.end());
  outcome->steps = result.steps;
  outcome->best_step = result.best_step;
  outcome->stopped_early = result.stopped_early;
  outcome->best = result.best;
  outcome->trainable_parameters = run.stage.trainable_parameters;
  outcome->device = DescribeDevice(device_);
  outcome->precision = run.stage.precision;
  outcome->threads = run.stage.threads;
  return absl::OkStatus();
}

}  // namespace graft
