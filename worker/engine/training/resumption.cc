#include "worker/engine/training/resumption.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

absl::Status OfAnotherRun(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat("is of another run: ", what));
}

absl::Status CheckExecution(const Execution& then, const Execution& now) {
  std::vector<std::string> there, here;
  const auto compare = [&](absl::string_view what, const std::string& a, const std::string& b) {
    if (a == b) return;
    there.push_back(absl::StrCat(what, " ", a));
    here.push_back(absl::StrCat(what, " ", b));
  };
  compare("device", then.device, now.device);
  compare("precision", then.precision, now.precision);
  compare("training code", then.revision, now.revision);
  if (there.empty()) return absl::OkStatus();
  return WithFailureClass(
      absl::FailedPreconditionError(absl::StrCat(
          "was made with ", absl::StrJoin(there, ", "), "; this worker would go on with ",
          absl::StrJoin(here, ", "), ", which would give other numbers")),
      FailureClass::kInfrastructure);
}

absl::Status CheckTensors(const TrainingState& loaded, const TrainingState& fresh) {
  for (size_t i = 0; i < fresh.names.size(); ++i) {
    for (const at::Tensor& tensor :
         {loaded.trained[i], loaded.exp_avgs[i], loaded.exp_avg_sqs[i]}) {
      if (tensor.sizes() != fresh.trained[i].sizes() ||
          tensor.scalar_type() != fresh.trained[i].scalar_type()) {
        return OfAnotherRun(absl::StrCat("tensor ", fresh.names[i], " has another shape or type"));
      }
    }
  }
  if (!loaded.best_tensors.empty() && loaded.best_tensors.size() != fresh.names.size()) {
    return OfAnotherRun("incomplete best tensors");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckContinues(const TrainingState& loaded, const TrainingState& fresh,
                            const StepPlan& plan) {
  if (loaded.fingerprint != fresh.fingerprint) {
    return OfAnotherRun("its spec, base model, tokenizer or number of threads are others");
  }
  RETURN_IF_ERROR(CheckExecution(loaded.execution, fresh.execution));
  if (loaded.optimizer != fresh.optimizer) return OfAnotherRun("another optimiser");
  if (loaded.num_rows != fresh.num_rows) return OfAnotherRun("another number of rows");
  if (loaded.names != fresh.names) return OfAnotherRun("other trained tensors");
  if (loaded.step < 0 || loaded.epoch != plan.epoch(loaded.step) ||
      loaded.position != plan.begin(loaded.step)) {
    return OfAnotherRun("another position in the data");
  }
  return CheckTensors(loaded, fresh);
}

}  // namespace graft
