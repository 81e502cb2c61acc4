// graft-engine: GPT-2 fine-tuning, evaluation and generation in one process, with or without a
// worker above it.

#include <pthread.h>
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/auto_or_number.h"
#include "common/base/command_help.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/base/version.h"
#include "worker/engine/run/job_control.h"
#include "worker/engine/run/result_files.h"
#include "worker/engine/run/serve.h"
#include "worker/engine/run/standalone.h"

namespace graft {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitCancelled = 3;
constexpr int kEngineSocket = 3;
constexpr int64_t kMaxSpecBytes = 16 << 20;

constexpr char kFooter[] =
    "Examples:\n"
    "  graft-engine run --spec job.json --out runs/lora\n"
    "  graft-engine evaluate --spec eval.json --out runs/lora-eval\n"
    "  graft-engine generate --model models/gpt2 --adapter runs/lora/adapter --prompt 'Once'\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 cancelled (Ctrl-C).\n";

constexpr char kSpecHelp[] =
    "graft.v1.JobSpec as JSON; names of models, adapters and data sets in it may be paths.\n";
constexpr char kFineTuneExample[] =
    "  {\"fine_tune\": {\"base_model\": \"models/gpt2\", \"method\": {\"lora\": {\"rank\": 8}},\n"
    "                 \"data\": {\"train\": \"train.jsonl\", \"validation\": \"valid.jsonl\"}}}";
constexpr char kEvaluateExample[] =
    "  {\"evaluate\": {\"base_model\": \"models/gpt2\", \"data\": {\"validation\": "
    "\"test.jsonl\"}}}";

// Turns SIGINT and SIGTERM into a cancel while it lives. Make it before any other thread.
class CancelOnSignal {
 public:
  explicit CancelOnSignal(JobControl& control) {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGUSR1);  // Ends the thread.
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::thread([this, &control] {
      int received = 0;
      sigwait(&signals_, &received);
      if (received != SIGUSR1) control.Cancel();
    });
  }
  ~CancelOnSignal() {
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

 private:
  sigset_t signals_;
  std::thread thread_;
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "graft-engine: %s\n", std::string(status.message()).c_str());
  return absl::IsCancelled(status) ? kExitCancelled : kExitFailed;
}

absl::Status ReadSpec(const std::string& path, v1::JobSpec* spec) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxSpecBytes));
  return Annotate(FromJson(text, spec), path);
}

void PrintLine(const std::string& line) {
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fputc('\n', stdout);
  std::fflush(stdout);
}

int RunJobCommand(const std::string& spec_path, bool evaluate, StandaloneOptions options) {
  if (const absl::Status read = ReadSpec(spec_path, &options.spec); !read.ok()) return Fail(read);
  if (options.spec.has_evaluate() != evaluate) {
    return Fail(absl::InvalidArgumentError(absl::StrCat(spec_path, ": must have ",
                                                        evaluate ? "\"evaluate\"" : "\"fine_tune\"",
                                                        " for this command")));
  }
  JobControl control;
  const CancelOnSignal cancel(control);
  const engine::v1::Finished finished = RunStandalone(
      options, [](const v1::JobEvent& event) { PrintLine(ToJson(event, false)); }, control);
  return finished.status().code() == 0
             ? 0
             : Fail(absl::Status(static_cast<absl::StatusCode>(finished.status().code()),
                                 finished.status().message()));
}

// The one text of `generate`, printed as it comes.
class PrintedText : public TextTask, public TextSource {
 public:
  PrintedText(GenerateRequest request, JobControl& control)
      : request_(std::move(request)), control_(control) {}

  TextTask* Next() override { return std::exchange(given_, true) ? nullptr : this; }
  const GenerateRequest& request() const override { return request_; }
  absl::Status Check() override { return control_.Check(); }
  void OnText(const TextPiece& piece) override {
    std::fwrite(piece.text.data(), 1, piece.text.size(), stdout);
    std::fflush(stdout);
  }
  void OnEnd(const absl::StatusOr<GenerateOutcome>& outcome) override { outcome_ = outcome; }
  const absl::StatusOr<GenerateOutcome>& outcome() const { return outcome_; }

 private:
  const GenerateRequest request_;
  JobControl& control_;
  bool given_ = false;
  absl::StatusOr<GenerateOutcome> outcome_ = absl::CancelledError("the text was not made");
};

int GenerateCommand(const SessionOptions& session_options, GenerateRequest request,
                    bool use_template) {
  JobControl control;
  const CancelOnSignal cancel(control);
  if (use_template) {
    absl::StatusOr<std::string> text = PromptTemplateOf(request.adapter_directory);
    if (!text.ok()) return Fail(text.status());
    request.prompt_template = *std::move(text);
  }
  const auto session = EngineSession::Create(session_options);
  if (!session.ok()) return Fail(session.status());
  PrintedText text(std::move(request), control);
  (*session)->GenerateTexts(text, control).IgnoreError();  // The text's own end tells.
  const absl::StatusOr<GenerateOutcome>& outcome = text.outcome();
  std::fputc('\n', stdout);
  if (!outcome.ok()) return Fail(outcome.status());
  if (outcome->prompt_tokens_cut > 0) {
    std::fprintf(stderr, "graft-engine: the prompt was %lld tokens too long and was cut\n",
                 static_cast<long long>(outcome->prompt_tokens_cut));
  }
  return 0;
}

int LogitsCommand(const SessionOptions& session_options, LogitsRequest request,
                  const std::string& ids_path) {
  const absl::StatusOr<std::string> text = ReadFile(ids_path, kMaxSpecBytes);
  if (!text.ok()) return Fail(text.status());
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  const auto is_id = [](const nlohmann::json& id) { return id.is_number_integer(); };
  bool valid = json.is_array();
  for (size_t i = 0; valid && i < json.size(); ++i) {
    valid = json[i].is_array() && std::all_of(json[i].begin(), json[i].end(), is_id);
    if (valid) request.rows.push_back(json[i].get<std::vector<int32_t>>());
  }
  if (!valid)
    return Fail(absl::InvalidArgumentError(ids_path + ": must be a list of lists of ids"));
  NoStop stop;
  const auto session = EngineSession::Create(session_options);
  if (!session.ok()) return Fail(session.status());
  const absl::Status status = (*session)->DumpLogits(request, stop);
  return status.ok() ? 0 : Fail(status);
}

// For graft-worker and graft-server, which choose a device without LibTorch
// (common/base/engine_devices.h).
int DevicesCommand() {
  const nlohmann::ordered_json answer = {{"devices", EngineSession::Devices()},
                                         {"cuda", EngineSession::IsBuiltForCuda()},
                                         {"bf16_native", EngineSession::HasNativeBf16()},
                                         {"cpu_capability", EngineSession::CpuCapability()}};
  PrintLine(answer.dump());
  return 0;
}

int ServeCommand(const SessionOptions& options) {
  // The worker decides when its engine ends: by the socket, by signals that cannot be ignored (it
  // starts it so that the others are), and by its own death.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  return Serve(kEngineSocket, options);
}

void AddDeviceFlags(CLI::App* app, std::string* device, int* threads) {
  app->add_option("--device", *device, "cpu, cuda, cuda:N, or auto: the first GPU there is")
      ->capture_default_str();
  app->add_option(
         "--threads", *threads,
         "Threads of the CPU, where the job does not say; auto: the cores that this process "
         "may use, or those with which the run that is resumed began")
      ->transform(AutoOrNumber(1, kMaxThreads))
      ->default_str("auto");
}

void AddJobFlags(CLI::App* app, std::string* spec, StandaloneOptions* options,
                 const char* example) {
  app->add_option("--spec", *spec, absl::StrCat(kSpecHelp, example))
      ->required()
      ->check(CLI::ExistingFile);
  app->add_option("--out", options->output, "Directory for what comes out")->required();
  app->add_option("--model", options->base_model, "Base model's folder, instead of the spec's");
  app->add_option("--validation", options->validation, "Validation data, instead of the spec's");
  app->add_option("--cache", options->cache, "Directory of token ids [OUT/cache]");
  AddDeviceFlags(app, &options->device, &options->threads);
}

// What the command line says.
struct Arguments {
  std::string spec;
  StandaloneOptions job;
  SessionOptions session;
  GenerateRequest generation;
  bool use_template = false;
  LogitsRequest logits;
  std::string ids_file;
};

CLI::App* AddRun(CLI::App& app, Arguments* arguments) {
  CLI::App* run = app.add_subcommand("run", "Fine-tunes; prints events as JSON lines");
  AddJobFlags(run, &arguments->spec, &arguments->job, kFineTuneExample);
  run->add_option("--train", arguments->job.train, "Training data, instead of the spec's");
  run->add_option("--init-from", arguments->job.adapter,
                  "Adapter to begin with, instead of the spec's");
  run->add_flag("--resume", arguments->job.resume, "Goes on from the newest checkpoint in OUT");
  run->footer(
      "Example: graft-engine run --spec job.json --out runs/lora --threads 4\n"
      "OUT/adapter (OUT/model for a full job) is there when it is done.");
  return run;
}

CLI::App* AddEvaluate(CLI::App& app, Arguments* arguments) {
  CLI::App* evaluate =
      app.add_subcommand("evaluate", "Scores a data set; prints events as JSON lines");
  AddJobFlags(evaluate, &arguments->spec, &arguments->job, kEvaluateExample);
  evaluate->add_option("--adapter", arguments->job.adapter,
                       "Adapter's directory, instead of the spec's");
  evaluate->footer(
      "Example: graft-engine evaluate --spec eval.json --adapter runs/lora/adapter --out "
      "runs/scores\n"
      "OUT/artifacts has predictions.jsonl and results.json, of several adapters (\"adapters\" in "
      "the "
      "spec) each below adapters/NAME.");
  return evaluate;
}

void AddDecodingFlags(CLI::App* app, GenerationConfig* config) {
  app->add_flag("--sample", config->do_sample, "Samples; else greedy");
  app->add_option("--temperature", config->temperature)
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--top-k", config->top_k, "0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app->add_option("--top-p", config->top_p)->capture_default_str()->check(CLI::Range(0.0, 1.0));
  app->add_option("--seed", config->seed)->capture_default_str();
  app->add_option("--num-beams", config->num_beams, "Beam search with so many beams")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--length-penalty", config->length_penalty,
                  "Beam search: above 0 favours long texts, below 0 short ones")
      ->capture_default_str();
  const std::map<std::string, BeamEarlyStopping> stoppings = {{"false", BeamEarlyStopping::kFalse},
                                                              {"true", BeamEarlyStopping::kTrue},
                                                              {"never", BeamEarlyStopping::kNever}};
  app->add_option("--early-stopping", config->early_stopping,
                  "Beam search: end when as many beams have finished; false, true or never [false]")
      ->transform(CLI::CheckedTransformer(stoppings))
      ->type_name("VALUE");
  app->add_option("--repetition-penalty", config->repetition_penalty,
                  "Above 1: less of what was there before")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app->add_option("--no-repeat-ngram-size", config->no_repeat_ngram_size,
                  "No n tokens in a row come twice; 0: no rule")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
}

CLI::App* AddGenerate(CLI::App& app, Arguments* arguments) {
  GenerateRequest& request = arguments->generation;
  CLI::App* generate = app.add_subcommand("generate", "Continues a text, token by token");
  generate->add_option("--model", request.base_model.directory, "Base model's folder")->required();
  generate->add_option("--adapter", request.adapter_directory, "Adapter's directory");
  generate->add_option("--prompt", request.prompt, "What to continue")->required();
  generate->add_flag("--template", arguments->use_template,
                     "Puts the prompt as {source} into the adapter's prompt template");
  generate
      ->add_option("--max-new-tokens", request.max_new_tokens,
                   "Default: 128, or half of what a shorter model has room for")
      ->check(CLI::PositiveNumber);
  AddDecodingFlags(generate, &request.generation);
  AddDeviceFlags(generate, &arguments->session.device, &arguments->session.threads);
  generate->footer(
      "Examples: graft-engine generate --model models/gpt2 --prompt 'Once upon' --sample\n"
      "  graft-engine generate --model models/gpt2 --prompt 'Once upon' --num-beams 4 "
      "--no-repeat-ngram-size 3");
  return generate;
}

// For developers: not listed.
CLI::App* AddLogits(CLI::App& app, Arguments* arguments) {
  CLI::App* logits = app.add_subcommand("logits", "Writes the logits of given ids")->group("");
  logits->add_option("--model", arguments->logits.base_model.directory)->required();
  logits->add_option("--adapter", arguments->logits.adapter_directory);
  logits->add_option("--ids-file", arguments->ids_file, "JSON: a list of lists of ids")->required();
  logits->add_option("--out", arguments->logits.output_file, "safetensors file")->required();
  AddDeviceFlags(logits, &arguments->session.device, &arguments->session.threads);
  return logits;
}

int Main(int argc, char** argv) {
  CLI::App app("Fine-tunes, evaluates and runs GPT-2 without a server.", "graft-engine");
  app.formatter(std::make_shared<CommandHelp>());
  app.footer(kFooter);
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  Arguments arguments;
  const CLI::App* run = AddRun(app, &arguments);
  const CLI::App* evaluate = AddEvaluate(app, &arguments);
  const CLI::App* generate = AddGenerate(app, &arguments);
  const CLI::App* logits = AddLogits(app, &arguments);
  CLI::App* devices =
      app.add_subcommand("devices", "Prints what it can compute on, as JSON: the CPU, then GPUs");
  CLI::App* serve = app.add_subcommand("serve", "Child of graft-worker, on descriptor 3");
  AddDeviceFlags(serve, &arguments.session.device, &arguments.session.threads);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (*run) return RunJobCommand(arguments.spec, false, std::move(arguments.job));
  if (*evaluate) return RunJobCommand(arguments.spec, true, std::move(arguments.job));
  if (*generate) {
    return GenerateCommand(arguments.session, std::move(arguments.generation),
                           arguments.use_template);
  }
  if (*logits) {
    return LogitsCommand(arguments.session, std::move(arguments.logits), arguments.ids_file);
  }
  if (*devices) return DevicesCommand();
  return ServeCommand(arguments.session);
}

}  // namespace
}  // namespace graft

int main(int argc, char** argv) { return graft::Main(argc, argv); }
