#include "worker/engine/training/resumption.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

absl::Status OfAnotherRun(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat("is of another run: ", what));
}

constexpr char kCpu[] = "cpu";
constexpr char kSomeGpu[] = "cuda";

// One thing in which two executions differ.
struct Difference {
  absl::string_view what;
  std::string then;
  std::string now;
};

void Compare(absl::string_view what, const std::string& then, const std::string& now,
             std::vector<Difference>& differences) {
  if (then.empty() || now.empty() || then == now) return;
  differences.push_back({what, then, now});
}

bool SameDevice(const std::string& then, const std::string& now) {
  if (then == kCpu || now == kCpu) return then == now;
  return then == now || then == kSomeGpu || now == kSomeGpu;
}

// What `now` may not change of `then`.
std::vector<Difference> BindingDifferences(const Execution& then, const Execution& now) {
  std::vector<Difference> differences;
  if (then.device != kCpu && !SameDevice(then.device, now.device)) {
    Compare("device", then.device, now.device, differences);
  }
  if (then.device == now.device) {
    Compare("cpu_capability", then.cpu_capability, now.cpu_capability, differences);
  }
  Compare("precision", then.precision, now.precision, differences);
  return differences;
}

// What it may.
std::vector<Difference> OtherDifferences(const Execution& then, const Execution& now) {
  std::vector<Difference> differences;
  if (!SameDevice(then.device, now.device)) {
    Compare("device", then.device, now.device, differences);
  }
  const auto number = [](int threads) { return threads > 0 ? absl::StrCat(threads) : ""; };
  Compare("threads", number(then.threads), number(now.threads), differences);
  Compare("libtorch", then.libtorch, now.libtorch, differences);
  Compare("code_sha256", then.code_sha256, now.code_sha256, differences);
  return differences;
}

absl::Status CheckExecution(const Execution& then, const Execution& now) {
  std::vector<std::string> there, here;
  for (const Difference& difference : BindingDifferences(then, now)) {
    there.push_back(absl::StrCat(difference.what, " ", difference.then));
    here.push_back(absl::StrCat(difference.what, " ", difference.now));
  }
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

absl::StatusOr<std::string> CheckSameExecution(const Execution& then, const Execution& now,
                                               bool allow_migration) {
  if (!allow_migration) RETURN_IF_ERROR(CheckExecution(then, now));
  std::vector<std::string> texts;
  for (const auto& differences : {BindingDifferences(then, now), OtherDifferences(then, now)}) {
    for (const Difference& each : differences) {
      std::string text = absl::StrCat(each.what, " ", each.then, " -> ", each.now);
      if (!absl::c_linear_search(texts, text)) texts.push_back(std::move(text));
    }
  }
  return absl::StrJoin(texts, ", ");
}

absl::StatusOr<std::string> CheckContinues(const TrainingState& loaded, const TrainingState& fresh,
                                           const StepPlan& plan, bool allow_migration) {
  if (loaded.fingerprint != fresh.fingerprint) {
    return OfAnotherRun("its spec, base model, tokenizer or number of threads are others");
  }
  ASSIGN_OR_RETURN(std::string changed,
                   CheckSameExecution(loaded.execution, fresh.execution, allow_migration));
  if (loaded.optimizer != fresh.optimizer) return OfAnotherRun("another optimiser");
  if (loaded.num_rows != fresh.num_rows) return OfAnotherRun("another number of rows");
  if (loaded.names != fresh.names) return OfAnotherRun("other trained tensors");
  if (loaded.step < 0 || loaded.epoch != plan.epoch(loaded.step) ||
      loaded.position != plan.begin(loaded.step)) {
    return OfAnotherRun("another position in the data");
  }
  RETURN_IF_ERROR(CheckTensors(loaded, fresh));
  return changed;
}

}  // namespace graft
