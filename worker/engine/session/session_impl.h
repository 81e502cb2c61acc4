#pragma once

// The torch half of EngineSession; included by this folder's sources only.

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <string>

#include "worker/engine/adapters/adapter_set.h"
#include "worker/engine/adapters/held_adapters.h"
#include "worker/engine/gpt2/tensor_memory.h"
#include "worker/engine/session/loaded_model.h"
#include "worker/engine/session/session.h"

namespace graft {

class EngineSession::Impl {
 public:
  Impl(c10::Device device, int threads) : device_(device), threads_(threads) {}

  absl::Status FineTune(const FineTuneRequest& request, EventSink& sink, StopToken& stop,
                        FineTuneOutcome* outcome);
  absl::Status Measure(const FineTuneRequest& request, double within_seconds, StopToken& stop,
                       MeasureOutcome* outcome);
  absl::Status Evaluate(const EvaluateRequest& request, EventSink& sink, StopToken& stop,
                        EvaluateOutcome* outcome);
  absl::Status GenerateTexts(TextSource& source, StopToken& stop);
  absl::Status DumpLogits(const LogitsRequest& request, StopToken& stop);

  c10::Device device() const { return device_; }
  void SetMemoryBudget(int64_t bytes) {
    memory_budget_ = bytes;
    MeasureMemory();
  }

  // A job is being run, for as long as this lives.
  class Running {
   public:
    explicit Running(Impl& impl) : impl_(impl) {
      impl_.running_ = true;
      impl_.adapters_.Clear();  // The job has all of the memory.
    }
    ~Running() { impl_.running_ = false; }

   private:
    Impl& impl_;
  };
  bool is_running() const { return running_; }

  // Turns what LibTorch throws into a Status, and gives back what is held between requests when
  // memory ran out.
  absl::Status Guarded(const std::function<absl::Status()>& body);

 private:
  struct FineTuneRun;

  // The model of the last request again, if it is the same one.
  absl::StatusOr<std::shared_ptr<const LoadedModel>> Load(const BaseModel& base,
                                                          Precision precision, Pulse& pulse);
  absl::StatusOr<std::shared_ptr<const LoadedModel>> LoadForText(const GenerateRequest& request,
                                                                 Pulse& pulse);
  void ForgetModel() {
    adapters_.Clear();
    model_.reset();
  }
  std::string DeviceName() const { return device_.str(); }
  int UseThreads(int threads);
  // Anew, when what was loaded is there: tensors may take the rest.
  void MeasureMemory() const { graft::SetMemoryBudget(device_, memory_budget_); }
  DataContext MakeDataContext(const LoadedModel& base, const std::string& cache_directory,
                              int64_t num_virtual_tokens, int threads) const;

  // What is computed in this stage, by the build that these name.
  Execution ExecutionOf(const StageEvent& stage, const std::string& libtorch,
                        const std::string& code_sha256) const;

  const c10::Device device_;
  const int threads_;
  int64_t memory_budget_ = 0;
  bool running_ = false;
  std::shared_ptr<const LoadedModel> model_;
  HeldAdapters adapters_;  // On model_.
};

// The adapter of a directory, or nullptr for an empty path.
absl::StatusOr<std::unique_ptr<AdapterSet>> LoadAdapter(const Gpt2Model& base,
                                                        const std::string& directory);

// What a spec leaves open is what it was when the run that is gone on with began. A precision that
// `auto` chose holds wherever it can be had: fp32 can be anywhere, and bf16 is what `auto` chooses
// anew where it is native. A checkpoint that cannot be read is refused later, by who goes on.
void GoOnAsBegun(const absl::StatusOr<Execution>& begun, Precision& precision, int& threads);

// CheckRoomForPrompts, if the evaluation generates at all.
absl::Status CheckEvaluationFits(const LoadedModel& base, const DataConfig& data,
                                 const EvaluationConfig& evaluation, int64_t num_virtual_tokens);

// Makes a directory that must be empty or not exist yet. FAILED_PRECONDITION when it holds files.
absl::Status MakeEmptyDirectory(const std::string& path);

}  // namespace graft
