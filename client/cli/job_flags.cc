#include "client/cli/job_flags.h"

#include <algorithm>
#include <functional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/proto_fields.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/base/suggest.h"
#include "common/methods/method_spec.h"
#include "common/studies/field_path.h"

namespace graft {
namespace {

constexpr absl::string_view kMethodPath = "spec.fine_tune.method";
constexpr absl::string_view kTaskPaths[] = {"spec.fine_tune.", "spec.evaluate."};
// The jobs of one submission at most.
constexpr size_t kMaxStudyJobs = 256;

constexpr char kJob[] = "Job";
constexpr char kData[] = "Data";
constexpr char kMethod[] = "Method";
constexpr char kTraining[] = "Training";
constexpr char kEvaluation[] = "Evaluation";

const std::vector<JobFlag>& CommonFlags() {
  static const std::vector<JobFlag> flags = {
      {"--name", "display_name", "A name for people", kJob},
      {"--priority", "priority", "Higher runs first, -1000 to 1000 [0]", kJob},
      {"--study", "study", "The comparison that it belongs to", kJob},
      {"--deadline", "deadline",
       "It fails if it is not done by then: 8h (from now), or \"2026-11-28 08:00\" [none]", kJob},
      {"--allow-migration", "allow_migration",
       "Go on on another kind of device, too; the last bits differ then [false]", kJob},
  };
  return flags;
}

// The fields that both tasks have, under the task's path.
std::vector<JobFlag> DataFlags(bool fine_tune) {
  std::vector<JobFlag> flags = CommonFlags();
  const auto add = [&](const char* name, const char* tune, const char* evaluate, const char* help,
                       const char* group) {
    flags.push_back({name, fine_tune ? tune : evaluate, help, group});
  };
#define GRAFT_BOTH(field) "spec.fine_tune." field, "spec.evaluate." field
  add("--base-model", GRAFT_BOTH("base_model"), "Name of the base model", kJob);
  add("--source-field", GRAFT_BOTH("data.source_field"), "Field of the text [document]", kData);
  add("--target-field", GRAFT_BOTH("data.target_field"), "Field of the summary [summary]", kData);
  add("--text-field", GRAFT_BOTH("data.text_field"),
      "Plain text instead of pairs (of a .txt: text)", kData);
  add("--prompt-template", GRAFT_BOTH("data.prompt_template"),
      fine_tune ? "[{source}\\nTL;DR:]" : "[the adapter's own, else {source}\\nTL;DR:]", kData);
  add("--max-source-tokens", GRAFT_BOTH("data.max_source_tokens"),
      fine_tune ? "Prompt tokens at most [512]"
                : "Prompt tokens at most [the adapter's own, else 512]",
      kData);
  add("--max-target-tokens", GRAFT_BOTH("data.max_target_tokens"),
      fine_tune ? "Target tokens at most [128]"
                : "Target tokens at most [the adapter's own, else 128]",
      kData);
  add("--max-validation-rows", GRAFT_BOTH("data.max_validation_rows"), "Only the first n rows",
      kData);
  add("--eval-samples", GRAFT_BOTH("evaluation.max_samples"),
      "Rows that summaries are generated for; -1: all [32 in training, else all]", kEvaluation);
  add("--max-new-tokens", GRAFT_BOTH("evaluation.max_new_tokens"), "[128]", kEvaluation);
  add("--use-stemmer", GRAFT_BOTH("evaluation.use_stemmer"), "ROUGE with Porter's stemmer [true]",
      kEvaluation);
  add("--sample", GRAFT_BOTH("evaluation.generation.do_sample"), "Sample instead of greedy [false]",
      kEvaluation);
  add("--temperature", GRAFT_BOTH("evaluation.generation.temperature"), "[1.0]", kEvaluation);
  add("--top-k", GRAFT_BOTH("evaluation.generation.top_k"), "[all]", kEvaluation);
  add("--top-p", GRAFT_BOTH("evaluation.generation.top_p"), "[1.0]", kEvaluation);
  add("--sample-seed", GRAFT_BOTH("evaluation.generation.seed"), "[42]", kEvaluation);
  add("--num-beams", GRAFT_BOTH("evaluation.generation.num_beams"),
      "Beam search with so many beams [1]", kEvaluation);
  add("--length-penalty", GRAFT_BOTH("evaluation.generation.length_penalty"),
      "Beam search: above 0 favours long texts [1.0]", kEvaluation);
  add("--early-stopping", GRAFT_BOTH("evaluation.generation.early_stopping"),
      "Beam search: false, true or never [false]", kEvaluation);
  add("--repetition-penalty", GRAFT_BOTH("evaluation.generation.repetition_penalty"),
      "Above 1: less of what was there before [1.0]", kEvaluation);
  add("--no-repeat-ngram-size", GRAFT_BOTH("evaluation.generation.no_repeat_ngram_size"),
      "No n tokens in a row come twice; 0: no rule [0]", kEvaluation);
#undef GRAFT_BOTH
  return flags;
}

std::vector<JobFlag> MethodFlags() {
  return {
      {"--rank", "spec.fine_tune.method.lora.rank", "LoRA: rank [8]", kMethod},
      {"--alpha", "spec.fine_tune.method.lora.alpha", "LoRA: alpha [16]", kMethod},
      {"--lora-dropout", "spec.fine_tune.method.lora.dropout", "LoRA: dropout [0]", kMethod},
      {"--target-modules", "spec.fine_tune.method.lora.target_modules",
       "LoRA: c_attn, c_proj, attn.c_proj, mlp.c_proj, c_fc [c_attn]", kMethod, true},
      {"--lora-layers", "spec.fine_tune.method.lora.layers", "LoRA: blocks, from 0 [all]", kMethod,
       true},
      {"--use-rslora", "spec.fine_tune.method.lora.use_rslora", "LoRA: alpha/sqrt(rank) [false]",
       kMethod},
      {"--use-dora", "spec.fine_tune.method.lora.use_dora",
       "LoRA: trained lengths of the weights' columns [false]", kMethod},
      {"--num-virtual-tokens", "spec.fine_tune.method.soft_prompt.num_virtual_tokens",
       "Soft prompt: vectors [20]", kMethod},
      {"--prompt-init", "spec.fine_tune.method.soft_prompt.init",
       "Soft prompt: vocabulary, random, text or random_unit [vocabulary]", kMethod},
      {"--init-text", "spec.fine_tune.method.soft_prompt.init_text", "Soft prompt: its text",
       kMethod},
      {"--prefix-tokens", "spec.fine_tune.method.prefix_tuning.num_virtual_tokens",
       "Prefix tuning: virtual tokens [20]", kMethod},
      {"--num-layers", "spec.fine_tune.method.last_layers.num_layers",
       "Last layers: blocks, 0 for the norm or head alone [2]", kMethod},
      {"--include-final-norm", "spec.fine_tune.method.last_layers.include_final_norm",
       "Last layers: the final norm, too [true]", kMethod},
      {"--include-lm-head", "spec.fine_tune.method.last_layers.include_lm_head",
       "Last layers: the head, too [false]", kMethod},
  };
}

std::vector<JobFlag> MakeFineTuneFlags() {
  std::vector<JobFlag> flags = {
      {"--method", nullptr,
       "lora, dora, soft_prompt, last_layers, full, prefix_tuning; a hybrid is written "
       "lora+soft_prompt",
       kMethod}};
  const std::vector<JobFlag> data = DataFlags(true);
  flags.insert(flags.end(), data.begin(), data.end());
  const std::vector<JobFlag> more = {
      {"--train", "spec.fine_tune.data.train", "Training data: a data set, or a file here", kData},
      {"--validation", "spec.fine_tune.data.validation", "Validation data, likewise", kData},
      {"--validation-fraction", "spec.fine_tune.data.validation_fraction",
       "Share of the training data that is held out instead", kData},
      {"--max-train-rows", "spec.fine_tune.data.max_train_rows", "Only the first n rows", kData},
      {"--init-from", "spec.fine_tune.init_from",
       "Adapter to begin with, or jobs/JOB/checkpoints/STEP to go on from", kJob},
      {"--output-name", "spec.fine_tune.output_name",
       "Name of the adapter, of one job only [the job's]", kJob},
  };
  flags.insert(flags.end(), more.begin(), more.end());
  const std::vector<JobFlag> method = MethodFlags();
  flags.insert(flags.end(), method.begin(), method.end());
  const std::vector<JobFlag> training = {
      {"--epochs", "spec.fine_tune.training.epochs", "[10]", kTraining},
      {"--max-steps", "spec.fine_tune.training.max_steps", "Optimiser steps, instead of epochs",
       kTraining},
      {"--batch-size", "spec.fine_tune.training.batch_size", "[8]", kTraining},
      {"--gradient-accumulation-steps", "spec.fine_tune.training.gradient_accumulation_steps",
       "[1]", kTraining},
      {"--learning-rate", "spec.fine_tune.training.learning_rate",
       "[lora and dora 2e-4, soft_prompt 3e-2, last_layers 1e-4, full 5e-5, prefix_tuning 1e-2]",
       kTraining},
      {"--schedule", "spec.fine_tune.training.schedule", "linear, cosine or constant [linear]",
       kTraining},
      {"--warmup-steps", "spec.fine_tune.training.warmup_steps", "[0]", kTraining},
      {"--warmup-ratio", "spec.fine_tune.training.warmup_ratio", "Of all steps, instead",
       kTraining},
      {"--weight-decay", "spec.fine_tune.training.weight_decay", "[0]", kTraining},
      {"--max-grad-norm", "spec.fine_tune.training.max_grad_norm", "0: no clipping [1.0]",
       kTraining},
      {"--seed", "spec.fine_tune.training.seed", "[42]", kTraining},
      {"--precision", "spec.fine_tune.training.precision", "auto, fp32, bf16 or fp64 [auto]",
       kTraining},
      {"--threads", "spec.fine_tune.training.threads", "CPU threads [the server's setting]",
       kTraining},
      {"--eval-every-steps", "spec.fine_tune.training.eval_every_steps", "[each epoch's end]",
       kTraining},
      {"--early-stopping-metric", "spec.fine_tune.training.early_stopping.metric", "[eval/loss]",
       kTraining},
      {"--patience", "spec.fine_tune.training.early_stopping.patience",
       "Evaluations without improvement; 0: never stop early [2]", kTraining},
      {"--min-delta", "spec.fine_tune.training.early_stopping.min_delta", "[0]", kTraining},
      {"--checkpoint-every-steps", "spec.fine_tune.training.checkpoint.every_steps",
       "[each evaluation]", kTraining},
      {"--checkpoint-every-seconds", "spec.fine_tune.training.checkpoint.every_seconds",
       "Besides, when the last is older; 0: none by time [600]", kTraining},
      {"--checkpoint-keep-best", "spec.fine_tune.training.checkpoint.keep_best",
       "Of the best evaluations, besides the newest two [1]", kTraining},
      {"--on-divergence", "spec.fine_tune.training.on_divergence",
       "stop, skip or roll_back, without the rows at fault [stop]", kTraining},
      {"--train-row-losses", "spec.fine_tune.evaluation.train_row_losses",
       "At the end the loss of each training row, too: graft rows JOB --train [false]",
       kEvaluation},
  };
  flags.insert(flags.end(), training.begin(), training.end());
  return flags;
}

std::vector<JobFlag> MakeEvaluateFlags() {
  std::vector<JobFlag> flags = DataFlags(false);
  const std::vector<JobFlag> more = {
      {"--data", "spec.evaluate.data.validation", "The rows to score: a data set, or a file here",
       kData},
      {"--adapter", "spec.evaluate.adapter",
       "Adapter to put on the model [none]; of several each is scored on the same rows, in one job",
       kJob, true, "spec.evaluate.adapters"},
      {"--precision", "spec.evaluate.precision", "auto, fp32, bf16 or fp64 [auto]", kEvaluation},
      {"--threads", "spec.evaluate.threads", "CPU threads [the server's setting]", kEvaluation},
      {"--batch-size", "spec.evaluate.batch_size", "Rows a batch for the loss [8]", kEvaluation},
      {"--lead3-baseline", "spec.evaluate.evaluation.lead3_baseline",
       "Score the first three sentences, too [true]", kEvaluation},
      {"--oracle-baseline", "spec.evaluate.evaluation.oracle_baseline",
       "Score the three sentences that fit the references best, too [false]", kEvaluation},
      {"--untuned-baseline", "spec.evaluate.evaluation.untuned_baseline",
       "Score the model without the adapter, too [false]", kEvaluation},
  };
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

// "--rank" as a label's key: "rank".
std::string KeyOf(absl::string_view flag) {
  std::string key(absl::StripPrefix(flag, "--"));
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

absl::Status NoSuchMethod(absl::string_view given) {
  std::vector<std::string> names;
  for (const Method* method : Methods()) names.push_back(method->name());
  const std::string suggestion = DidYouMean(given, names);
  const std::string last = names.back();
  names.pop_back();
  return absl::InvalidArgumentError(absl::StrCat("\"", given, "\" is none of ",
                                                 absl::StrJoin(names, ", "), " and ", last,
                                                 " (a hybrid: lora+soft_prompt)", suggestion));
}

// The method becomes these parts and no others; those that it had keep their settings.
absl::Status SetMethod(v1::Job& job, absl::string_view parts) {
  v1::Method& method = *job.mutable_spec()->mutable_fine_tune()->mutable_method();
  const v1::Method before = method;
  method.Clear();
  for (absl::string_view given : absl::StrSplit(parts, '+')) {
    const auto named = std::find_if(Methods().begin(), Methods().end(), [&](const Method* known) {
      return Folded(known->name()) == Folded(given);
    });
    if (named == Methods().end()) return NoSuchMethod(given);
    (*named)->AddTo(before, method);
  }
  return absl::OkStatus();
}

// What a flag makes void in a file, below the task's path.
struct Superseded {
  const char* flag;
  const char* path;
};
constexpr Superseded kSuperseded[] = {
    {"--epochs", "training.max_steps"},
    {"--warmup-steps", "training.warmup_ratio"},
    {"--warmup-ratio", "training.warmup_steps"},
    {"--text-field", "data.source_field"},
    {"--text-field", "data.target_field"},
    {"--text-field", "data.prompt_template"},
    {"--source-field", "data.text_field"},
    {"--target-field", "data.text_field"},
    {"--prompt-template", "data.text_field"},
    {"--adapter", "adapter"},
    {"--adapter", "adapters"},
};

// Before any flag is applied: two flags that exclude each other are still refused.
void ClearSuperseded(const JobFlagValues& values, v1::Job& job) {
  for (const Superseded& superseded : kSuperseded) {
    const auto given = values.values.find(superseded.flag);
    if (given == values.values.end() || given->second.empty()) continue;
    for (absl::string_view task : kTaskPaths) ClearField(job, absl::StrCat(task, superseded.path));
  }
  const auto rate = values.values.find("--learning-rate");
  if (rate == values.values.end() || rate->second.empty()) return;
  for (const std::string& part : MethodFields()) {
    ClearField(job, absl::StrCat(kMethodPath, ".", part, ".learning_rate"));
  }
}

// Does the flag concern this job? Flags of a method's part do not where --method names other parts.
bool Applies(const JobFlag& flag, const v1::Job& job) {
  const absl::string_view path = flag.path == nullptr ? "" : flag.path;
  const v1::Method& method = job.spec().fine_tune().method();
  if (!absl::StartsWith(path, kMethodPath) || MethodName(method).empty()) return true;
  const absl::string_view part = path.substr(kMethodPath.size() + 1);
  return HasPart(method, part.substr(0, part.find('.')));
}

absl::Status SetFlag(v1::Job& job, const JobFlag& flag, const std::string& value) {
  if (flag.path == nullptr) return SetMethod(job, value);
  if (flag.several == nullptr) return SetField(job, flag.path, value);
  const std::vector<std::string> values = absl::StrSplit(value, ',', absl::SkipWhitespace());
  if (values.size() > 1) return SetField(job, flag.several, value);
  return SetField(job, flag.path, values.empty() ? "" : values[0]);
}

// Every job that the flag concerns once for each of its values.
absl::StatusOr<std::vector<v1::Job>> Multiply(
    const std::vector<v1::Job>& jobs, const JobFlag& flag, const std::vector<std::string>& values,
    const std::function<absl::Status(v1::Job&, const std::string&)>& set) {
  std::vector<v1::Job> result;
  bool applied = false;
  for (const v1::Job& job : jobs) {
    if (!Applies(flag, job)) {
      result.push_back(job);
      continue;
    }
    applied = true;
    for (const std::string& value : values) {
      v1::Job& next = result.emplace_back(job);
      RETURN_IF_ERROR(Annotate(set(next, value), flag.name));
      if (values.size() == 1) continue;
      (*next.mutable_labels())[KeyOf(flag.name)] = value;
      const char* separator = next.display_name().empty() ? "" : " ";
      absl::StrAppend(next.mutable_display_name(), separator, KeyOf(flag.name), "=", value);
    }
  }
  if (applied) return result;
  return absl::InvalidArgumentError(absl::StrCat(flag.name, ": --method ",
                                                 MethodName(jobs[0].spec().fine_tune().method()),
                                                 " has no such part"));
}

absl::Status AddLabels(v1::Job& job, const std::vector<std::string>& labels) {
  for (const std::string& label : labels) {
    const std::pair<std::string, std::string> entry =
        absl::StrSplit(label, absl::MaxSplits('=', 1));
    if (entry.first.empty() || !absl::StrContains(label, '=')) {
      return absl::InvalidArgumentError(
          absl::StrCat("--label: \"", label, "\" is not of the form key=value"));
    }
    (*job.mutable_labels())[entry.first] = entry.second;
  }
  return absl::OkStatus();
}

struct NamedFlag {
  std::string name;  // Empty: there is none.
  bool given = false;
};

NamedFlag FlagOf(const std::vector<JobFlag>& flags, const JobFlagValues& values,
                 absl::string_view path) {
  if (path == "request_id") return {"--request-id", true};
  if (path == "labels") return {"--label", !values.labels.empty()};
  // --method says which parts there are; their settings have flags of their own.
  absl::string_view part = path;
  const bool is_part = absl::ConsumePrefix(&part, kMethodPath) &&
                       (part.empty() || part.find('.', 1) == absl::string_view::npos);
  for (const JobFlag& flag : flags) {
    const bool names = flag.path == nullptr
                           ? is_part
                           : path == flag.path || (flag.several != nullptr && path == flag.several);
    if (!names) continue;
    const auto given = values.values.find(flag.name);
    return {flag.name, given != values.values.end() && !given->second.empty()};
  }
  return {};
}

}  // namespace

const std::vector<JobFlag>& FineTuneFlags() {
  static const std::vector<JobFlag> flags = MakeFineTuneFlags();
  return flags;
}

const std::vector<JobFlag>& EvaluateFlags() {
  static const std::vector<JobFlag> flags = MakeEvaluateFlags();
  return flags;
}

void AddJobFlags(CLI::App& command, const std::vector<JobFlag>& flags, JobFlagValues& values) {
  for (const JobFlag& flag : flags) {
    command.add_option(flag.name, values.values[flag.name], flag.help)
        ->group(flag.group)
        ->type_name(flag.list ? "A,B" : "VALUE");
  }
  command.add_option("--label", values.labels, "KEY=VALUE, may be repeated")->group(kJob);
  command
      .add_option("--file", values.file,
                  "A job as JSON or YAML, as --validate-only and graft show --json print it or "
                  "graft-engine run takes it; flags override it, and --method names all its parts")
      ->group(kJob)
      ->check(CLI::ExistingFile);
}

std::vector<std::string> ValuesOf(const JobFlag& flag, const std::string& text) {
  static const char* const kWhole[] = {"--prompt-template", "--init-text", "--name", "--study",
                                       "--deadline"};
  const bool whole = flag.list || std::find_if(std::begin(kWhole), std::end(kWhole), [&](auto* n) {
                                    return absl::string_view(n) == flag.name;
                                  }) != std::end(kWhole);
  if (whole) return {text};
  return absl::StrSplit(text, ',', absl::SkipWhitespace());
}

absl::StatusOr<std::vector<v1::Job>> JobsFromFlags(const std::vector<JobFlag>& flags,
                                                   const JobFlagValues& values, const v1::Job& base,
                                                   const std::string& study_name) {
  std::vector<v1::Job> jobs = {base};
  ClearSuperseded(values, jobs[0]);
  RETURN_IF_ERROR(AddLabels(jobs[0], values.labels));
  for (const JobFlag& flag : flags) {
    const std::string& text = values.values.at(flag.name);
    if (text.empty()) continue;
    ASSIGN_OR_RETURN(jobs, Multiply(jobs, flag, ValuesOf(flag, text),
                                    [&](v1::Job& job, const std::string& value) {
                                      return SetFlag(job, flag, value);
                                    }));
    if (jobs.size() > kMaxStudyJobs) {
      return absl::InvalidArgumentError(absl::StrCat("these lists make over ", kMaxStudyJobs,
                                                     " jobs; submit them in smaller studies"));
    }
  }
  for (v1::Job& job : jobs) {
    if (jobs.size() > 1 && job.study().empty()) job.set_study(study_name);
  }
  return jobs;
}

std::string NameOfField(const std::vector<JobFlag>& flags, const JobFlagValues& values,
                        absl::string_view spec_path, absl::string_view field) {
  const absl::string_view path = absl::StripPrefix(field, "job.");
  const NamedFlag flag = FlagOf(flags, values, path.substr(0, path.find('[')));
  if (!flag.name.empty() && (flag.given || values.file.empty())) return flag.name;
  absl::string_view rest = path;
  if (!absl::ConsumePrefix(&rest, "spec")) return std::string(path);
  absl::ConsumePrefix(&rest, ".");
  return absl::StrCat(spec_path, spec_path.empty() || rest.empty() ? "" : ".", rest);
}

}  // namespace graft
