#pragma once

// A fine-tune job within a session; included by this folder's sources only.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "worker/engine/evaluation/row_loss_file.h"
#include "worker/engine/evaluation/training_evaluator.h"
#include "worker/engine/session/session_impl.h"
#include "worker/engine/training/trainer.h"

namespace graft {

// What a fine-tune job holds, from its base model to its result.
struct EngineSession::Impl::FineTuneRun {
  // All of them outlive it.
  FineTuneRun(Impl& session, const FineTuneRequest& request, EventSink& sink, StopToken& stop);

  // Loads the base model, makes the adapter, reads and tokenises the data: all but the first step.
  absl::Status Prepare();
  absl::StatusOr<TrainingResult> Train();
  // Writes what was trained into the request's output directory; its files.
  absl::StatusOr<std::vector<std::string>> Save() const;
  // Of the step whose tensors the adapter has now; paths below artifacts_directory. Where the
  // evaluation that was the best did not leave them, since it was over before this run began, they
  // are computed again.
  absl::StatusOr<std::vector<std::string>> WriteRowLosses(const EvaluationEvent& best);
  // Of the training rows, where the spec asks for them, by the tensors that the adapter has now;
  // its paths there. Left for a pause, too: Train has saved its last step then.
  absl::StatusOr<std::vector<std::string>> WriteTrainRowLosses();
  void EnterStage(Stage next);

  Impl& session;
  const FineTuneRequest& request;
  EventSink& sink;
  StopToken& stop;
  FineTuneConfig config;
  // From here on by Prepare.
  std::shared_ptr<const LoadedModel> base;
  std::unique_ptr<AdapterSet> adapter;
  TrainingData data;
  StageEvent stage;
  Execution execution;
  // Of a full job, by name: at its end a worker may have dropped them from its cache.
  std::map<std::string, std::string> tokenizer_files;
  std::optional<RowLossFile> row_losses;        // With a validation set.
  std::optional<RowLossFile> train_row_losses;  // Where the spec asks for them.

 private:
  absl::Status MakeAdapter();
  absl::Status ReadTokenizerFiles();
  std::string Fingerprint(const std::string& identity) const;
};

}  // namespace graft
