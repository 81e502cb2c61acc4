#include "server/planning/job_plan.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/formats/gpt2_config.h"
#include "common/jobs/step_plan.h"
#include "common/methods/method_spec.h"
#include "common/methods/trained_parameters.h"
#include "server/planning/data_figures.h"
#include "server/planning/plan_warnings.h"

namespace graft {
namespace {

// The adapter and its method, of an evaluate job: none has neither. Of several the one that takes
// most positions, for which the texts of all are cut; what it trained is not the job's.
absl::StatusOr<v1::Adapter> AdapterOf(const Catalogue& catalogue, const v1::JobSpec& spec) {
  const v1::EvaluateSpec& evaluate = spec.evaluate();
  v1::Adapter narrowest;
  for (int i = 0; i < evaluate.adapters_size(); ++i) {
    ASSIGN_OR_RETURN(v1::Adapter adapter,
                     FindAdapter(catalogue.store, {evaluate.adapters(i),
                                                   absl::StrCat("evaluate.adapters[", i, "]")}));
    adapter.clear_trainable_parameters();
    const bool first = i == 0;
    if (first || NumVirtualTokens(adapter.method()) > NumVirtualTokens(narrowest.method())) {
      narrowest = std::move(adapter);
    }
  }
  if (evaluate.adapter().empty()) return narrowest;
  return FindAdapter(catalogue.store, {evaluate.adapter(), "evaluate.adapter"});
}

absl::StatusOr<int64_t> CountTrained(const Catalogue& catalogue, const v1::Model& model,
                                     const v1::Method& method) {
  ASSIGN_OR_RETURN(const std::string folder, catalogue.publisher.DirectoryOf(model));
  ASSIGN_OR_RETURN(Gpt2Config config, ReadGpt2Config(folder));
  config.tie_word_embeddings = model.tied_head();
  return CountTrainedParameters(ToMethodConfig(method), config);
}

StepPlan StepsOf(const v1::TrainingSpec& training, int64_t examples) {
  StepSettings settings;
  settings.epochs = training.epochs();
  settings.max_steps = training.max_steps();
  settings.batch_size = training.batch_size();
  settings.gradient_accumulation_steps = training.gradient_accumulation_steps();
  settings.warmup_steps = training.warmup_steps();
  settings.warmup_ratio = training.warmup_ratio();
  return MakeStepPlan(settings, examples);
}

}  // namespace

absl::StatusOr<v1::JobPlan> MakeJobPlan(const Catalogue& catalogue,
                                        const ResolvedFromStore& resolved, double wished_difference,
                                        const Gone& gone) {
  const v1::JobSpec& spec = resolved.spec;
  v1::JobPlan plan;
  *plan.mutable_resolved_spec() = spec;
  const std::string& base =
      spec.has_evaluate() ? spec.evaluate().base_model() : spec.fine_tune().base_model();
  ASSIGN_OR_RETURN(const v1::Model model, FindModel(catalogue.store, {base, "base_model"}));
  ASSIGN_OR_RETURN(const v1::Adapter adapter, AdapterOf(catalogue, spec));
  const v1::Method& method = spec.has_evaluate() ? adapter.method() : spec.fine_tune().method();
  plan.set_total_parameters(model.num_parameters());
  plan.set_trainable_parameters(adapter.trainable_parameters());
  if (spec.has_fine_tune()) {
    ASSIGN_OR_RETURN(const int64_t trained, CountTrained(catalogue, model, method));
    plan.set_trainable_parameters(trained);
  }
  ASSIGN_OR_RETURN(DataFigures data,
                   ReadDataFigures(catalogue, spec, model, NumVirtualTokens(method), gone));
  const v1::TrainingSpec& training = spec.fine_tune().training();
  int64_t warmup_steps = 0;
  if (data.train.examples > 0) {
    const StepPlan steps = StepsOf(training, data.train.examples);
    warmup_steps = steps.warmup_steps;
    plan.set_total_steps(steps.total_steps);
    plan.set_epochs(steps.epochs_done(steps.total_steps));
    const bool evaluates = !data.validation.plan.dataset().empty();
    if (evaluates) plan.set_evaluations(steps.evaluations(training.eval_every_steps()));
  } else if (training.max_steps() > 0) {  // Of plain text of which a part was not read.
    plan.set_total_steps(training.max_steps());
    warmup_steps = training.warmup_steps();
  }
  for (const v1::Warning& noticed : resolved.warnings) {
    v1::PlanWarning& warning = *plan.add_warnings();
    warning.set_code(noticed.code());
    warning.set_text(noticed.text());
  }
  for (v1::PlanWarning& warning : PlanWarnings(plan, warmup_steps, data, wished_difference)) {
    *plan.add_warnings() = std::move(warning);
  }
  if (spec.has_fine_tune()) *plan.mutable_train() = std::move(data.train.plan);
  if (!data.validation.plan.dataset().empty()) {
    *plan.mutable_validation() = std::move(data.validation.plan);
  }
  return plan;
}

}  // namespace graft
