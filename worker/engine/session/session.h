#pragma once

// One engine's work, from files to files: loads base model and data, trains or evaluates or
// generates, writes what comes of it. The torch half ends here: this header has neither torch nor
// protobuf, and no exception of LibTorch passes it.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/data/data_set.h"
#include "worker/engine/engine_spec.h"
#include "worker/engine/run_hooks.h"

namespace graft {

// Dropout of the model as the spec sets it; open: the config's own value where it acts on what
// trains (the embedding's with `full`, the others also with trained blocks), else 0.
struct DropoutChoice {
  std::optional<double> embedding;
  std::optional<double> attention;
  std::optional<double> residual;
};

// A folder with a base model. What a session holds of one it knows again by its content where that
// has a name, else by the folder, which must not change then while the session lasts.
struct BaseModel {
  std::string directory;
  std::string sha256;  // Of all its files; empty: not known.
};
bool IsSameContent(const BaseModel& a, const BaseModel& b);

struct FineTuneRequest {
  FineTuneConfig config;
  DropoutChoice dropout;
  BaseModel base_model;
  std::string base_model_name;      // For PEFT's base_model_name_or_path.
  std::string init_from_directory;  // An adapter's; empty: none.
  DataSetFile train;
  DataSetFile validation;  // Path empty: none of its own.
  std::string cache_directory;
  std::string output_directory;      // Made; must not exist or be empty.
  std::string artifacts_directory;   // Made; row_losses.jsonl goes here, and that of training.
  std::string checkpoint_directory;  // Made; checkpoints go to {step}/ in it.
  std::string resume_from;           // A checkpoint's directory; empty: from the beginning.
  // What the checkpoints belong to: what of the resolved spec no run may change that goes on from
  // them (FixedPart), as text. With precision kAuto a run that resumes keeps that of its checkpoint
  // where this machine can.
  std::string identity;
  std::string earlier_identity;  // The same as earlier builds have it: the whole resolved spec.
  std::string continues;         // TrainerOptions::continues.
  int64_t pause_at_step = 0;     // TrainerOptions::pause_at_step.
  bool allow_migration = false;  // TrainerOptions::allow_migration.
  // Of this build, for the checkpoints to say (build_info.h).
  std::string libtorch;
  std::string code_sha256;
};

struct FineTuneOutcome {
  int64_t steps = 0;
  int64_t best_step = 0;
  bool stopped_early = false;
  EvaluationEvent best;  // Of best_step; no values without a validation set.
  int64_t trainable_parameters = 0;
  double seconds = 0;  // Of training and its evaluations.
  std::string device;  // As DescribeDevice of gpt2/runtime.h has it.
  std::string precision;
  int threads = 0;
  std::vector<std::string> files;      // Below output_directory.
  std::vector<std::string> artifacts;  // Below artifacts_directory.
};

// What a fine-tune job would take, from files to files.
struct MeasureOutcome {
  Execution execution;
  // Of all that the process holds, at the most; on a GPU of its memory.
  int64_t peak_memory_bytes = 0;
  int64_t batch_size = 0;  // Rows of a micro-batch, as memory holds.
  int64_t gradient_accumulation_steps = 0;
  double data_seconds = 0;   // Until the first step, with what was cached before.
  double step_seconds = 0;   // Mean of an optimiser step.
  double train_seconds = 0;  // All steps.
  // All evaluations; none: there was no time to find out.
  std::optional<double> evaluate_seconds;
};

struct NamedAdapter {
  std::string name;
  std::string directory;
};

struct EvaluateRequest {
  EvaluateConfig config;
  BaseModel base_model;
  std::string adapter_directory;       // Empty: the untuned model.
  std::vector<NamedAdapter> adapters;  // Not empty: these instead, each as it is alone.
  DataSetFile data;
  std::string cache_directory;
  // Made; predictions.jsonl and row_losses.jsonl go here, of several adapters to where
  // EvaluationFile (common/formats/evaluation_files.h) has them.
  std::string artifacts_directory;
  // As of FineTuneRequest: checkpoints go to {rows done}/, every minute. Empty: none are made.
  std::string checkpoint_directory;
  std::string resume_from;
  std::string identity;
  bool allow_migration = false;
  std::string libtorch;
  std::string code_sha256;
};

struct AdapterOutcome {
  EvaluationEvent result;
  int64_t trainable_parameters = 0;
};

struct EvaluateOutcome {
  EvaluationEvent result;                // Of several adapters it says nothing.
  int64_t trainable_parameters = 0;      // Of the adapter; likewise.
  std::vector<AdapterOutcome> adapters;  // EvaluateRequest::adapters, in their order.
  double seconds = 0;
  std::string device;  // As DescribeDevice of gpt2/runtime.h has it.
  std::string precision;
  int threads = 0;
  std::vector<std::string> files;  // Below artifacts_directory.
};

inline constexpr int64_t kDefaultNewTokens = 128;

struct GenerateRequest {
  BaseModel base_model;
  std::string adapter_directory;  // Its files must not change while this session lasts.
  std::string prompt;
  // Puts the prompt as {source} into this template; empty: the prompt is taken as it is.
  std::string prompt_template;
  // Open: kDefaultNewTokens, or half of what a shorter model has room for.
  std::optional<int64_t> max_new_tokens;
  GenerationConfig generation;
  // The text ends with the first token after which one of these is in it. Not with beam search.
  std::vector<std::string> stop_strings;
  int64_t sequence = 0;            // Of several samples of a prompt: each is drawn by itself.
  bool log_probabilities = false;  // Not with beam search.
  // Tokens that were told of it before it had to be left: it goes on behind them.
  std::vector<int32_t> begun;
  // kAuto: that of the model if it is held, else as for jobs.
  Precision precision = Precision::kAuto;
};

enum class TextEnd { kEndOfText, kMaxNewTokens, kStopString };

struct GenerateOutcome {
  TextEnd end = TextEnd::kEndOfText;
  int64_t prompt_tokens = 0;
  int64_t prompt_tokens_cut = 0;
  int64_t new_tokens = 0;
};

// A new token of a text. Its part of the text is empty while a character is incomplete; id -1 comes
// last, with what is left of one.
struct TextPiece {
  int32_t id = -1;
  float log_probability = 0;  // Natural, where it was asked for.
  std::string text;
};

// A text that somebody wants. Called on the session's thread.
class TextTask {
 public:
  virtual ~TextTask() = default;
  virtual const GenerateRequest& request() const = 0;
  // Not OK: it is to end so.
  virtual absl::Status Check() = 0;
  virtual void OnText(const TextPiece& piece) = 0;
  // Nothing comes after it. INVALID_ARGUMENT: the prompt, the adapter, or both have no room in the
  // model; UNAVAILABLE: it is on another base model than those beside it.
  virtual void OnEnd(const absl::StatusOr<GenerateOutcome>& outcome) = 0;
};

class TextSource {
 public:
  virtual ~TextSource() = default;
  // The next one that waits; nullptr: none does now. It lives until its end is told, or
  // GenerateTexts returns.
  virtual TextTask* Next() = 0;
};

struct LogitsRequest {
  BaseModel base_model;
  std::string adapter_directory;
  std::vector<std::vector<int32_t>> rows;
  Precision precision = Precision::kFp32;
  std::string output_file;  // safetensors: logits.{row} [T, V] F32.
};

struct SessionOptions {
  std::string device = "cpu";  // "cpu", "cuda", "cuda:N"
  // Of requests that do not say themselves; 0: the cores that this process may use.
  int threads = 0;
};

// Everything runs on the calling thread, which must always be the same one. A request sets the
// number of threads that it asks for. Codes: those of the parts, marked with their FailureClass
// where the code alone would say another; RESOURCE_EXHAUSTED (kOutOfMemory) for memory;
// INTERNAL for whatever else LibTorch throws.
class EngineSession {
 public:
  // INVALID_ARGUMENT: no such device; FAILED_PRECONDITION: this build or machine does not have it.
  static absl::StatusOr<std::unique_ptr<EngineSession>> Create(const SessionOptions& options);
  ~EngineSession();

  // The devices that this build finds, the processor first: "cpu", "cuda:0 NVIDIA H100 80GB HBM3".
  static std::vector<std::string> Devices();
  // Is it linked to LibTorch's CUDA half?
  static bool IsBuiltForCuda();
  // Does the processor multiply bf16 natively?
  static bool HasNativeBf16();
  // Is every byte of a checkpoint's directory as it was written? DATA_LOSS naming the directory and
  // the file that is missing or differs.
  static absl::Status CheckCheckpoint(const std::string& directory);
  // The instruction set of the kernels that LibTorch chose for this processor: "AVX2", "AVX512" ….
  static std::string CpuCapability();

  // What this session computes on, as an Execution names it: "cpu", or the GPU's model.
  std::string DeviceModel() const;
  // Of the GPU; 0 on the CPU, and where it cannot be found out.
  int64_t GpuMemoryBytes() const;

  absl::StatusOr<FineTuneOutcome> FineTune(const FineTuneRequest& request, EventSink& sink,
                                           StopToken& stop);
  absl::StatusOr<EvaluateOutcome> Evaluate(const EvaluateRequest& request, EventSink& sink,
                                           StopToken& stop);
  // Does some steps, and then a little of an evaluation, within these seconds, and keeps nothing of
  // it but token ids in the cache: no other directory is touched. Codes of FineTune; CANCELLED:
  // `stop` said so before there was a step.
  absl::StatusOr<MeasureOutcome> Measure(const FineTuneRequest& request, double within_seconds,
                                         StopToken& stop);
  // Makes the texts of `source`, those that come meanwhile too, in one batch on the base model of
  // the first; returns when none waits any more. Each gets what it gets alone, up to rounding. Not
  // OK: `stop` said so; the texts that have not ended can go on later (GenerateRequest::begun).
  // May also be called from within StopToken::Poll of FineTune and Evaluate, whose numbers it
  // leaves alone: it computes with their threads and on their base model.
  absl::Status GenerateTexts(TextSource& source, StopToken& stop);
  // What the requests from here on may hold of the device's memory, in bytes; 0: no bound.
  void SetMemoryBudget(int64_t bytes);
  // Gives back to the system what the requests so far have freed. Base model and tokenizer stay.
  void FreeUnused();
  // Does a request that ended with this code (of absl::Status) leave a process in which nothing
  // works any more? So do a GPU's errors.
  bool IsBrokenBy(int code) const;
  // For verification against other implementations.
  absl::Status DumpLogits(const LogitsRequest& request, StopToken& stop);

 private:
  class Impl;
  explicit EngineSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace graft
