#pragma once

// What the engine is told to do, as plain values with every default already filled in: the one
// place where protobuf's messages and the engine's torch code meet (neither sees the other's
// headers). The bridge in worker/engine/run fills these from graft.v1.JobSpec; fields mean what
// proto/graft/v1/spec.proto says.

#include <cstdint>
#include <map>
#include <string>

#include "common/methods/method.h"
#include "common/methods/method_config.h"

namespace graft {

enum class Precision { kAuto, kFp32, kBf16, kFp64 };
enum class Schedule { kLinear, kCosine, kConstant };
enum class DivergencePolicy { kStop, kSkip, kRollBack };
enum class BeamEarlyStopping { kFalse, kTrue, kNever };

struct DataConfig {
  std::string source_field = "document";
  std::string target_field = "summary";
  std::string text_field;  // Not empty: plain text, every token a label.
  std::string prompt_template = "{source}\nTL;DR:";
  int64_t max_source_tokens = 512;
  int64_t max_target_tokens = 128;
  double validation_fraction = 0;  // 0: validation rows come from a file of their own.
  int64_t max_train_rows = 0;      // 0: all.
  int64_t max_validation_rows = 0;
};

struct TrainingConfig {
  struct EarlyStopping {
    std::string metric = "eval/loss";
    int64_t patience = 2;  // 0: never stop early.
    double min_delta = 0;
  };
  int64_t epochs = 10;
  int64_t max_steps = 0;  // > 0: overrides epochs.
  int64_t batch_size = 8;
  int64_t gradient_accumulation_steps = 1;
  // Peak values, by the method's name.
  std::map<std::string, double> learning_rates = DefaultLearningRates();
  Schedule schedule = Schedule::kLinear;
  int64_t warmup_steps = 0;
  double warmup_ratio = 0;  // Used when warmup_steps is 0: ceil(ratio * total steps).
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double max_grad_norm = 1.0;  // 0: no clipping.
  uint64_t seed = 42;
  Precision precision = Precision::kAuto;
  int threads = 0;  // Of the CPU; 0: the session's.
  // Embedding dropout acts wherever it is > 0. The other two act in the blocks from the lowest one
  // with trained base weights on (in all blocks when no base weight trains).
  double embedding_dropout = 0;
  double attention_dropout = 0;
  double residual_dropout = 0;
  int64_t eval_every_steps = 0;  // 0: at each epoch's end.
  EarlyStopping early_stopping;
  int64_t checkpoint_every_steps = 0;  // 0: at each evaluation.
  // When the newest one is older; 0: none by time. Rarer where saving takes long (Trial).
  double checkpoint_every_seconds = 0;
  int64_t checkpoint_keep_last = 2;
  DivergencePolicy on_divergence = DivergencePolicy::kStop;
};

struct GenerationConfig {
  bool do_sample = false;
  double temperature = 1.0;
  int64_t top_k = 0;  // 0: all.
  double top_p = 1.0;
  uint64_t seed = 42;
  int64_t num_beams = 1;  // > 1: beam search; not with do_sample.
  double length_penalty = 1.0;
  BeamEarlyStopping early_stopping = BeamEarlyStopping::kFalse;
  double repetition_penalty = 1.0;   // 1: none.
  int64_t no_repeat_ngram_size = 0;  // 0: no rule.
};

struct EvaluationConfig {
  int64_t max_samples = 32;  // -1: all; 0: no generation.
  int64_t max_new_tokens = 128;
  GenerationConfig generation;
  bool use_stemmer = true;
  int64_t generation_batch_size = 16;
  bool lead3_baseline = true;
  bool untuned_baseline = false;
  bool oracle_baseline = false;
  bool train_row_losses = false;
  int64_t sample_events = 2;
};

struct FineTuneConfig {
  DataConfig data;
  MethodConfig method;
  TrainingConfig training;
  EvaluationConfig evaluation;
};

struct EvaluateConfig {
  DataConfig data;
  EvaluationConfig evaluation;
  Precision precision = Precision::kAuto;
  int threads = 0;  // Of the CPU; 0: the session's.
  int64_t batch_size = 8;
};

}  // namespace graft
