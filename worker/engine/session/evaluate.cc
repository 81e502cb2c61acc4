#include <c10/core/GradMode.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "worker/engine/evaluation/evaluate_data_set.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/session/session_impl.h"

namespace graft {

absl::Status EngineSession::Impl::Evaluate(const EvaluateRequest& request, EventSink& sink,
                                           StopToken& stop, EvaluateOutcome* outcome) {
  const c10::NoGradGuard no_grad;
  const absl::Duration start = Clock::Real().Boottime();
  EvaluateConfig config = request.config;
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
  EvaluateDataSetOptions options;
  ASSIGN_OR_RETURN(const std::shared_ptr<const TokenFile> tokens, open(network));
  std::shared_ptr<const TokenFile> untuned_tokens;
  if (adapter != nullptr && config.evaluation.untuned_baseline) {
    ASSIGN_OR_RETURN(untuned_tokens, open(untuned));
    options.untuned = &untuned;
    options.untuned_tokens = untuned_tokens.get();
  }
  options.config = config;
  options.data = request.data;
  options.tokenizer = base->tokenizer.get();
  options.tokens = tokens.get();
  options.predictions_path = JoinPath(request.artifacts_directory, "predictions.jsonl");
  options.on_rows = [&](const RowsEvent& rows) { sink.OnRows(rows); };
  options.on_samples = [&](const std::vector<SampleTextEvent>& texts) { sink.OnSamples(0, texts); };
  stage.stage = Stage::kEvaluating;
  stage.trainable_parameters = adapter ? adapter->num_trained_parameters() : 0;
  stage.total_parameters = base->model->num_parameters();
  sink.OnStage(stage);
  ASSIGN_OR_RETURN(outcome->result, EvaluateDataSet(network, options, stop));
  sink.OnEvaluation(outcome->result);
  if (FileExists(options.predictions_path)) outcome->files = {"predictions.jsonl"};
  outcome->trainable_parameters = stage.trainable_parameters;
  outcome->device = DescribeDevice(device_);
  outcome->precision = stage.precision;
  outcome->threads = stage.threads;
  outcome->seconds = absl::ToDoubleSeconds(Clock::Real().Boottime() - start);
  return absl::OkStatus();
}

}  // namespace graft
