#pragma once

// The seam between the engine's loops and whoever runs them: what happened goes out through
// EventSink, whether to go on comes in through StopToken. Plain values, no torch, no protobuf.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace graft {

enum class Stage { kLoading, kTraining, kEvaluating, kSaving };

// Sent whenever the stage changes; numbers that are not yet known are 0, names empty.
struct StageEvent {
  Stage stage = Stage::kLoading;
  int64_t total_steps = 0;
  int64_t trainable_parameters = 0;
  int64_t total_parameters = 0;
  std::string device;     // "cpu", "cuda:0"
  std::string precision;  // What is really used: "fp32", "bf16", "fp64".
  int threads = 0;
  // Rows of a micro-batch and micro-batches of a step, where memory did not hold the spec's.
  int64_t batch_size = 0;
  int64_t gradient_accumulation_steps = 0;
};

// What became of a step that diverged, by TrainingConfig::on_divergence.
enum class DivergenceAction { kStopped, kSkipped, kRolledBack };

// A row whose loss or gradient is not finite though it is alone.
struct DivergentRow {
  int64_t row = 0;   // From 0, of the training data.
  int64_t line = 0;  // Of its file, from 1.
  std::string id;
  std::string source;  // Its beginning.
  double loss = 0;     // Mean over its own label tokens.
  double grad_norm = 0;
};

// Rows of a divergence that are told of, and bytes of a text of theirs.
inline constexpr size_t kMaxDivergentRows = 20;
inline constexpr size_t kMaxDivergentBytes = 200;

// A step whose loss or gradient is not finite; its update was not made.
struct DivergenceEvent {
  int64_t step = 0;
  double loss = 0;
  double grad_norm = 0;
  std::vector<DivergentRow> rows;  // At most kMaxDivergentRows. Empty: each row of it is finite.
  DivergenceAction action = DivergenceAction::kStopped;
  int64_t rolled_back_to_step = 0;
};

// One optimiser step. `step` counts updates done, from 1; `epoch` is passes over the data.
struct StepEvent {
  int64_t step = 0;
  double epoch = 0;
  int64_t total_steps = 0;
  double loss = 0;       // Mean over the step's label tokens.
  double grad_norm = 0;  // Global L2 norm before clipping.
  double learning_rate =
      0;  // The one used; in a hybrid that of its first part (lora, soft_prompt).
  double tokens_per_second = 0;  // Real tokens (no pads, no virtual ones).
};

// Rows of an evaluation that are done. It goes over them in passes (the loss, the untuned model's
// loss, the texts) that differ in speed: the one that runs began at `pass_begin` rows done and is
// over at `pass_end`.
struct RowsEvent {
  int64_t done = 0;  // Of all passes.
  int64_t total = 0;
  int64_t pass_begin = 0;
  int64_t pass_end = 0;
};

// A row's part of a loss.
struct RowLoss {
  int64_t index = 0;  // In the validation set as it is used.
  int64_t num_tokens = 0;
  double sum = 0;  // Of its label tokens' losses.
};

// One evaluation; `values` carries the metric names of design.md ("eval/loss", "eval/rougeL" ...).
struct EvaluationEvent {
  std::string adapter;  // Whose it is, in an evaluate job of several.
  int64_t step = 0;
  double epoch = 0;
  std::map<std::string, double> values;
  int64_t num_samples = 0;
  int64_t num_loss_tokens = 0;
  bool is_best = false;
  double seconds = 0;
  // What the scores were made of (graft.v1.ScoringFingerprint).
  bool use_stemmer = true;
  std::string sentence_splitter;
  std::string decoding;
  std::string precision;
  int64_t max_new_tokens = 0;
  int64_t max_source_tokens = 0;
  std::string samples_sha256;
  int64_t truncated_sources = 0;
  // As LossSum has them, by index. nullptr: the event is from a checkpoint, which has none, or the
  // evaluation went on from an earlier build's.
  std::shared_ptr<const std::vector<RowLoss>> row_losses;
};

// How a run's numbers are computed: all that may change their last bits. Named as in
// graft.v1.Execution; what is empty or 0 is not known.
struct Execution {
  std::string device;          // "cpu", or the GPU's model; "cuda": a GPU of unknown model.
  std::string cpu_capability;  // Of LibTorch's kernels: "AVX2". On the CPU only.
  std::string precision;       // "fp32", "bf16", "fp64"
  int threads = 0;             // Of the CPU.
  std::string libtorch;        // Its version.
  std::string code_sha256;     // Of the sources that compute the numbers.
  // Rows of a micro-batch, where memory did not hold as many as the spec says. Unlike the others it
  // is the run's own: whoever goes on takes it over.
  int64_t batch_size = 0;
};

struct CheckpointFile {
  std::string path;  // Below the checkpoint's directory.
  int64_t size_bytes = 0;
  std::string sha256;
};

// A whole checkpoint lies in `directory`, synced. Where an evaluation follows at its step, it is
// told before, and again after it with what the evaluation added: no file that was told of changes.
struct CheckpointEvent {
  int64_t step = 0;
  bool again = false;
  std::string directory;
  std::vector<CheckpointFile> files;
  Execution execution;
};

struct SampleTextEvent {
  int64_t row = 0;
  std::string source;
  std::string reference;
  std::string prediction;
};

// Called on the engine's training thread only, in order; must not block for long.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnStage(const StageEvent& event) = 0;
  virtual void OnStep(const StepEvent& event) = 0;
  // At the beginning of each pass and after each batch of it.
  virtual void OnRows(const RowsEvent&) {}
  virtual void OnEvaluation(const EvaluationEvent& event) = 0;
  virtual void OnCheckpoint(const CheckpointEvent& event) = 0;
  // Those of kRolledBack come before what is done again.
  virtual void OnDivergence(const DivergenceEvent&) {}
  // `adapter`: as in EvaluationEvent.
  virtual void OnSamples(int64_t step, const std::string& adapter,
                         const std::vector<SampleTextEvent>& texts) = 0;
  // `code` is UPPER_SNAKE and stable: ROWS_TRUNCATED, NOT_BIT_EXACT, MICRO_BATCH_HALVED ...
  virtual void OnWarning(const std::string& code, const std::string& text) = 0;
};

// Counts all that a job does, however small: micro-batches, decoded tokens, rows read, tokenised or
// scored, bytes saved or checked. A count that stands still is how a hung job shows itself.
// Thread-safe; never blocks.
class Pulse {
 public:
  void Beat() { count_.fetch_add(1, std::memory_order_relaxed); }
  int64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> count_ = 0;
};

// The answer of a StopToken to a job that is to be paused: CANCELLED, and IsPaused.
absl::Status PausedStatus();
bool IsPaused(const absl::Status& status);

// Asked before every micro-batch and every decode step.
class StopToken {
 public:
  virtual ~StopToken() = default;
  // OK: go on. CANCELLED: stop now; but if IsPaused a step may be ended first, and what was done is
  // to be saved. Blocks at the fence (the moment until which the job may be worked on), until it is
  // moved or the job is cancelled.
  virtual absl::Status Poll() = 0;
  // Somebody wants a checkpoint of this step or a later one. 0: nobody does.
  virtual int64_t RequestedCheckpoint() { return 0; }

  // Of the job that asks. Where something long is done without asking, it beats by itself.
  Pulse& pulse() { return pulse_; }

 private:
  Pulse pulse_;
};

// Never stops.
class NoStop : public StopToken {
 public:
  absl::Status Poll() override { return absl::OkStatus(); }
};

}  // namespace graft
