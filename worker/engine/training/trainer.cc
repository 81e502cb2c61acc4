#include "worker/engine/training/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "common/base/status_macros.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/runtime.h"
#include "worker/engine/training/pass.h"
#include "worker/engine/training/schedule.h"
#include "worker/engine/training/trial.h"

namespace graft {
namespace {

// Trials of one base. Each pass has a micro-batch of every one that is not over, or of as many as
// memory holds.
class Driver {
 public:
  explicit Driver(std::span<const TrialParts> parts)
      : together_(parts.size()), results_(parts.size(), absl::UnknownError("not trained")) {
    for (const TrialParts& part : parts) trials_.emplace_back(part);
  }

  std::vector<absl::StatusOr<TrainingResult>> Run() {
    for (size_t i = 0; i < trials_.size(); ++i) {
      if (Allows(i, [&] { return trials_[i].Start(); })) under_way_.push_back(i);
    }
    while (!under_way_.empty()) {
      std::vector<size_t> going_on;
      const size_t together = together_;
      for (size_t begin = 0; begin < under_way_.size(); begin += together) {
        const size_t count = std::min(together, under_way_.size() - begin);
        MakePass(std::span(under_way_).subspan(begin, count), going_on);
      }
      under_way_ = std::move(going_on);
    }
    return std::move(results_);
  }

 private:
  // False: what it did ended trial i, which is noted.
  template <typename Body>
  bool Allows(size_t i, const Body& body) {
    const absl::Status status = CatchTorchErrors(body);
    if (!status.ok()) results_[i] = status;
    return status.ok();
  }

  // One pass for those of `trials` that are not done; `going_on` gets the ones that go on. What
  // goes wrong in what they share ends them all, but for memory: then each begins its step again,
  // with fewer others beside it or, when it was alone, with fewer rows.
  void MakePass(std::span<const size_t> trials, std::vector<size_t>& going_on) {
    std::vector<size_t> taking;
    std::vector<MicroBatch> batches;
    for (const size_t i : trials) {
      if (trials_[i].Done()) {
        Allows(i, [&]() -> absl::Status {
          results_[i] = trials_[i].Finish();
          return results_[i].status();
        });
        continue;
      }
      const bool has_next = Allows(i, [&]() -> absl::Status {
        ASSIGN_OR_RETURN(MicroBatch next, trials_[i].Next());
        batches.push_back(std::move(next));
        return absl::OkStatus();
      });
      if (has_next) taking.push_back(i);
    }
    if (taking.empty()) return;
    at::Tensor losses;
    std::vector<size_t> order;
    const absl::Status passed = CatchTorchErrors([&] {
      losses = LossesWithGradients(batches, order);
      return absl::OkStatus();
    });
    const bool fewer = IsOutOfMemory(passed) && taking.size() > 1;
    if (fewer) together_ = std::min(together_, (taking.size() + 1) / 2);
    for (size_t place = 0; place < taking.size(); ++place) {
      const size_t i = taking[passed.ok() ? order[place] : place];
      const bool goes_on = Allows(i, [&]() -> absl::Status {
        if (passed.ok()) return trials_[i].Take(losses[static_cast<int64_t>(place)]);
        if (!IsOutOfMemory(passed)) return passed;
        if (!fewer) return trials_[i].HalveMicroBatch(passed);
        trials_[i].StartStepAgain();
        return absl::OkStatus();
      });
      if (goes_on) going_on.push_back(i);
    }
  }

  std::deque<Trial> trials_;
  size_t together_;  // Trials that share a pass, at the most.
  std::vector<size_t> under_way_;
  std::vector<absl::StatusOr<TrainingResult>> results_;
};

}  // namespace

std::vector<absl::StatusOr<TrainingResult>> TrainTogether(std::span<const TrialParts> trials) {
  return Driver(trials).Run();
}

absl::StatusOr<TrainingResult> Train(const TrainerOptions& options, const ExampleSource& train,
                                     AdapterSet& adapter, Evaluator* evaluator, EventSink& sink,
                                     StopToken& stop, Clock& clock) {
  const TrialParts alone[] = {{options, train, adapter, evaluator, sink, stop, clock}};
  return std::move(TrainTogether(alone)[0]);
}

int64_t TotalSteps(const TrainingConfig& config, int64_t num_rows) {
  return num_rows > 0 ? MakeStepPlan(config, num_rows).total_steps : 0;
}

}  // namespace graft
