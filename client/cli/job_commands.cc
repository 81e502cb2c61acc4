// graft jobs, show, watch, artifacts.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/cli/command.h"
#include "client/cli/job_flags.h"
#include "client/cli/listing.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/queue_text.h"
#include "client/cli/settings.h"
#include "client/cli/terminal.h"
#include "client/cli/usage.h"
#include "common/base/byte_text.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_spec.h"
#include "common/jobs/message_json.h"

namespace graft {
namespace {

// NaN: there is none.
double JobMetric(const v1::Job& job, const std::string& name) {
  const auto& metrics =
      job.result().metrics().empty() ? job.last_metrics() : job.result().metrics();
  const auto found = metrics.find(name);
  return found == metrics.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

struct ListOptions {
  std::string filter;
  std::string order_by;
  std::string state;
  std::string study;
  int limit = 50;
  std::string output;
};

std::vector<ListColumn> JobColumns() {
  return {{"JOB", "name"},         {"NAME~", "display_name"},
          {"METHOD", "method"},    {"STATE", "state"},
          {"STEP>", "step"},       {"", "total_steps"},
          {"LOSS>?", "eval/loss"}, {"RLSUM>?", "eval/rougeLsum"},
          {"", "study"},           {"CREATED?", "create_time"},
          {"", "start_time"},      {"", "end_time"}};
}

std::vector<Cell> JobCells(const v1::Job& job) {
  const std::string steps = job.total_steps() > 0 ? absl::StrCat(job.step(), "/", job.total_steps())
                                                  : absl::StrCat(job.step());
  return {{job.name()},
          CutCell(job.display_name(), 32),
          {job.method()},
          {StateText(job.state())},
          {steps, absl::StrCat(job.step())},
          {absl::StrCat(job.total_steps())},
          NumberCell(JobMetric(job, "eval/loss"), 4),
          NumberCell(JobMetric(job, "eval/rougeLsum"), 3),
          {job.study()},
          TimeCell(job.create_time()),
          TimeCell(job.start_time()),
          TimeCell(job.end_time())};
}

absl::Status RunJobs(CliContext& context, const ListOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  std::vector<std::string> terms;
  if (!options.filter.empty()) terms.push_back(options.filter);
  if (!options.state.empty()) {
    terms.push_back(absl::StrCat("state = \"", absl::AsciiStrToUpper(options.state), "\""));
  }
  if (!options.study.empty()) terms.push_back(absl::StrCat("study = \"", options.study, "\""));
  v1::ListJobsRequest request;
  request.set_filter(absl::StrJoin(terms, " AND "));
  request.set_order_by(options.order_by);
  Listing list(format, JobColumns());
  do {
    request.set_page_size(
        static_cast<int>(std::min<int64_t>(options.limit - list.size(), kMaxPageSize)));
    ASSIGN_OR_RETURN(const v1::ListJobsResponse response, context.client->ListJobs(request));
    for (const v1::Job& job : response.jobs()) list.Add(job, JobCells(job));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty() && list.size() < options.limit);
  list.End();
  return absl::OkStatus();
}

struct ShowOptions {
  std::string name;
  bool attempts = false;
};

void PrintField(const char* name, const std::string& value) {
  if (!value.empty()) std::printf("%-14s %s\n", name, Printable(value).c_str());
}

std::string OutcomeText(const v1::Attempt& attempt) {
  if (!attempt.has_end_time()) return "";
  if (attempt.outcome() == v1::ATTEMPT_OUTCOME_UNSPECIFIED) {  // Ended under an earlier build.
    return attempt.has_error() ? "failed" : "ended";
  }
  return absl::StrReplaceAll(absl::AsciiStrToLower(absl::StripPrefix(
                                 v1::AttemptOutcome_Name(attempt.outcome()), "ATTEMPT_OUTCOME_")),
                             {{"_", " "}});
}

std::string EndText(const v1::Attempt& attempt) {
  if (!attempt.has_end_time()) return "";
  return absl::StrCat(FormatTime(attempt.end_time()), ", ", OutcomeText(attempt), " at step ",
                      attempt.last_step());
}

void PrintAttempts(const v1::Job& job) {
  Table table({"ATTEMPT>", "WORKER", "DEVICE~", "PRECISION", "THREADS>?", "FROM STEP>", "STARTED?",
               "END~"});
  for (const v1::Attempt& attempt : job.attempts()) {
    const std::string& error = attempt.error().message();
    table.AddRow(
        {absl::StrCat(attempt.number()), attempt.worker(), attempt.device(), attempt.precision(),
         absl::StrCat(attempt.threads()), absl::StrCat(attempt.resumed_from_step()),
         FormatTime(attempt.start_time()),
         OneLine(absl::StrCat(OutcomeText(attempt), error.empty() ? "" : ": ", error), 72)});
  }
  if (!job.attempts().empty()) std::printf("\n%s", table.ToString(LineRoom(STDOUT_FILENO)).c_str());
}

bool IsLeftOut(const std::string& metric) {
  // The interval and its parts are in --json; here they would drown the rest.
  return absl::EndsWith(metric, "_low") || absl::EndsWith(metric, "_high") ||
         absl::EndsWith(metric, "_precision") || absl::EndsWith(metric, "_recall");
}

// A column for each adapter.
void PrintMetricsOfSeveral(const v1::JobResult& result) {
  std::vector<std::string> header = {"METRIC"};
  std::set<std::string> names;
  for (const v1::AdapterResult& one : result.adapters()) {
    header.push_back(absl::StrCat(one.adapter(), ">"));
    for (const auto& [name, value] : one.metrics()) names.insert(name);
  }
  Table table(header);
  for (const std::string& name : names) {
    if (IsLeftOut(name)) continue;
    std::vector<std::string> cells = {name};
    for (const v1::AdapterResult& one : result.adapters()) {
      const auto found = one.metrics().find(name);
      cells.push_back(found == one.metrics().end() ? "-" : absl::StrCat(found->second));
    }
    table.AddRow(std::move(cells));
  }
  std::printf("\n%s", table.ToString(LineRoom(STDOUT_FILENO)).c_str());
}

void PrintMetrics(const v1::Job& job) {
  if (!job.result().adapters().empty()) return PrintMetricsOfSeveral(job.result());
  const auto& values = job.result().metrics().empty() ? job.last_metrics() : job.result().metrics();
  std::map<std::string, double> sorted(values.begin(), values.end());
  Table table({"METRIC", "VALUE>"});
  for (const auto& [name, value] : sorted) {
    if (IsLeftOut(name)) continue;
    table.AddRow({name, absl::StrCat(value)});
  }
  if (!sorted.empty()) std::printf("\n%s", table.ToString(LineRoom(STDOUT_FILENO)).c_str());
}

void PrintInputs(const v1::JobSpec& spec) {
  const bool evaluates = spec.has_evaluate();
  const v1::DataSpec& data = evaluates ? spec.evaluate().data() : spec.fine_tune().data();
  PrintField("base model",
             evaluates ? spec.evaluate().base_model() : spec.fine_tune().base_model());
  PrintField("adapter", spec.evaluate().adapter());
  PrintField("adapters", absl::StrJoin(spec.evaluate().adapters(), ", "));
  PrintField("init from", spec.fine_tune().init_from());
  PrintField("train", data.train());
  PrintField(evaluates ? "data" : "validation", data.validation());
  if (data.has_validation_fraction()) {
    PrintField("validation", absl::StrCat(data.validation_fraction(), " of train"));
  }
}

// As flags would give them. Without the model or the adapter, which may have been deleted, some
// that are defaults are told, too.
void PrintSettings(CliContext& context, const v1::Job& job) {
  const auto& flags = job.spec().has_evaluate() ? EvaluateFlags() : FineTuneFlags();
  const SpecReferences names = ReferencesOf(job.resolved_spec(), "");
  const auto model = context.client->GetModel(names.base_model.name);
  std::vector<SpecReference> named = names.adapters;
  if (!names.adapter.name.empty()) named.push_back(names.adapter);
  std::vector<v1::Adapter> adapters;
  for (const SpecReference& adapter : named) {
    absl::StatusOr<v1::Adapter> found = context.client->GetAdapter(adapter.name);
    if (found.ok()) adapters.push_back(*std::move(found));
  }
  const char* label = "settings";
  for (const Setting& setting :
       ChosenSettings(job.spec(), model.ok() ? &*model : nullptr, adapters)) {
    std::string name = NameOfField(flags, {}, "spec", setting.path);
    for (const char* task : {"spec.fine_tune.", "spec.evaluate."}) {
      name = std::string(absl::StripPrefix(name, task));
    }
    std::printf("%-14s %s\n", label, Printable(absl::StrCat(name, " ", setting.value)).c_str());
    label = "";
  }
}

std::string ProgressText(const v1::Job& job) {
  std::string text = absl::StrCat("step ", job.step(), " of ", job.total_steps());
  if (!job.resolved_spec().has_evaluate()) {
    absl::StrAppend(&text, ", epoch ", FormatNumber(job.epoch(), 2));
  }
  if (job.stage() != v1::JOB_STAGE_UNSPECIFIED)
    absl::StrAppend(&text, ", ", StageText(job.stage()));
  if (job.stage() == v1::JOB_STAGE_EVALUATING && job.stage_total() > 0) {
    absl::StrAppend(&text, " ", job.stage_done(), " of ", job.stage_total());
  }
  if (job.eta_seconds() > 0) {
    absl::StrAppend(&text, ", about ", FormatSeconds(job.eta_seconds()), " left");
  }
  return text;
}

// Each with all that is known of it.
void ShowAttempts(CliContext& context, const v1::Job& job) {
  for (const v1::Attempt& attempt : job.attempts()) {
    if (context.json) {
      std::puts(ToJson(attempt).c_str());
      continue;
    }
    PrintField("attempt", attempt.name());
    PrintField("worker", attempt.worker());
    PrintField("began", absl::StrCat(FormatTime(attempt.start_time()), ", from step ",
                                     attempt.resumed_from_step()));
    PrintField("ended", EndText(attempt));
    PrintField("because", attempt.error().message());
    PrintField("device", attempt.device());
    PrintField("instructions", attempt.execution().cpu_capability());
    PrintField("precision", attempt.precision());
    if (attempt.threads() > 0) PrintField("threads", absl::StrCat(attempt.threads()));
    PrintField("graft", attempt.engine_version());
    PrintField("LibTorch", attempt.execution().libtorch());
    PrintField("code", attempt.execution().code_sha256());
    PrintField("logs", absl::StrCat("graft logs ", job.name(), " --attempt ", attempt.number()));
    if (attempt.number() != job.attempt()) std::puts("");
  }
}

void PrintPlace(CliContext& context, const v1::Job& job) {
  PrintField("queue", absl::StrCat("place ", job.queue_position()));
  v1::GetQueueRequest request;
  request.set_name(job.name());
  // It may have left the queue since, and a server of an earlier build knows no more.
  const absl::StatusOr<v1::GetQueueResponse> response = context.client->GetQueue(request);
  if (!response.ok() || response->jobs().empty()) return;
  PrintField("waits", response->jobs(0).waits());
  PrintField("starts in", StartText(response->jobs(0)));
}

absl::Status RunShow(CliContext& context, const ShowOptions& options) {
  ASSIGN_OR_RETURN(const v1::Job job, context.client->GetJob(options.name));
  if (options.attempts) {
    ShowAttempts(context, job);
    return absl::OkStatus();
  }
  if (context.json) {
    std::puts(ToJson(job, true).c_str());
    return absl::OkStatus();
  }
  PrintField("job", job.name());
  PrintField("name", job.display_name());
  PrintField("study", job.study());
  PrintField("trial", job.trial());
  PrintField("retry of", job.retry_of());
  for (const auto& [key, value] : job.labels()) PrintField("label", absl::StrCat(key, "=", value));
  PrintField("method", job.method());
  PrintInputs(job.resolved_spec());
  PrintSettings(context, job);
  PrintField("state", absl::StrCat(StateText(job.state()), job.state_reason().empty() ? "" : ": ",
                                   job.state_reason()));
  if (job.queue_position() > 0) PrintPlace(context, job);
  if (job.priority() != 0) PrintField("priority", absl::StrCat(job.priority()));
  PrintField("progress", ProgressText(job));
  if (job.worker_silent_seconds() >= kSilenceSeconds) {
    PrintField("worker",
               absl::StrCat("not heard for ", FormatSeconds(job.worker_silent_seconds())));
  }
  PrintField("makes way for", job.preempted_by());
  if (job.has_deadline()) PrintField("deadline", FormatTime(job.deadline()));
  if (job.allow_migration()) PrintField("may migrate", "yes");
  PrintField("created", FormatTime(job.create_time()));
  if (job.has_start_time()) PrintField("started", FormatTime(job.start_time()));
  if (job.has_end_time()) PrintField("ended", FormatTime(job.end_time()));
  if (job.has_error()) PrintField("error", job.error().message());
  PrintField("adapter", job.result().adapter());
  PrintField("model", job.result().model());
  if (job.result().best_step() > 0) {
    PrintField("best step", absl::StrCat(job.result().best_step(),
                                         job.result().stopped_early() ? ", stopped early" : ""));
  }
  PrintAttempts(job);
  PrintMetrics(job);
  return absl::OkStatus();
}

struct WatchOptions {
  std::vector<std::string> names;
  int64_t after = 0;
};

absl::Status RunWatch(CliContext& context, const WatchOptions& options) {
  const auto is_study = [](const std::string& name) { return absl::StartsWith(name, "studies/"); };
  const bool study = std::any_of(options.names.begin(), options.names.end(), is_study);
  if (options.after > 0 && (study || options.names.size() > 1)) {
    return absl::InvalidArgumentError("--after is of one job");
  }
  if (options.names.size() == 1) {
    return study ? FollowStudy(context, options.names[0])
                 : FollowJob(context, options.names[0], options.after);
  }
  if (study) return absl::InvalidArgumentError("a study is watched alone, jobs beside each other");
  return FollowJobs(context, options.names);
}

struct ListArtifactsOptions {
  std::string job;
  std::string output;
};

struct ArtifactOptions {
  std::string job;
  std::string path;
  std::string to;
};

absl::Status RunListArtifacts(CliContext& context, const ListArtifactsOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  ASSIGN_OR_RETURN(const v1::ListJobArtifactsResponse response,
                   context.client->ListJobArtifacts(options.job));
  Listing list(format, {{"FILE", "path"}, {"SIZE>", "size_bytes"}, {"SHA-256~", "sha256"}});
  for (const v1::Artifact& artifact : response.artifacts()) {
    list.Add(artifact, {{artifact.path()}, BytesCell(artifact.size_bytes()), {artifact.sha256()}});
  }
  list.End();
  return absl::OkStatus();
}

absl::Status RunDownloadArtifact(CliContext& context, const ArtifactOptions& options) {
  const std::string to = options.to.empty() ? BaseName(options.path) : options.to;
  RETURN_IF_ERROR(EndableDownload(
      context, [&] { return context.client->DownloadJobArtifact(options.job, options.path, to); }));
  std::fputs(OneFact(context.json, "file", to, to).c_str(), stdout);
  return absl::OkStatus();
}

void AddArtifactCommands(CLI::App& app, RunCommand& run) {
  CLI::App* artifacts =
      app.add_subcommand("artifacts", "Files that a job left: predictions, results, metrics");
  artifacts->require_subcommand(1)->fallthrough();
  auto list = std::make_shared<ListArtifactsOptions>();
  CLI::App* list_command = AddCommand(*artifacts, run, "list", "List a job's files",
                                      "graft artifacts list jobs/k3f9", list, RunListArtifacts);
  list_command->add_option("job", list->job, "Its name")->required();
  AddOutputFlag(*list_command, list->output);
  auto download = std::make_shared<ArtifactOptions>();
  CLI::App* command = AddCommand(*artifacts, run, "download", "Download one of a job's files",
                                 "graft artifacts download jobs/k3f9 predictions.jsonl", download,
                                 RunDownloadArtifact);
  command->add_option("job", download->job, "Its name")->required();
  command->add_option("file", download->path, "As list names it")->required();
  command->add_option("--to", download->to, "Where to put it; default: its own name, here");
}

}  // namespace

void AddJobCommands(CLI::App& app, RunCommand& run) {
  auto list = std::make_shared<ListOptions>();
  CLI::App* jobs = AddCommand(app, run, "jobs", "List jobs, newest first",
                              "graft jobs --state running --limit 10", list, RunJobs);
  jobs->add_option(
      "--filter", list->filter,
      "Terms joined by AND: state, study, labels.KEY, method, base_model, display_name, "
      "done; create_time and end_time with <, <=, >, >=");
  jobs->add_option("--state", list->state, "Only jobs in this state")
      ->transform(OneOf(EnumNames(*v1::JobState_descriptor())));
  jobs->add_option("--study", list->study, "Only jobs of this study");
  jobs->add_option("--order-by", list->order_by,
                   "\"create_time desc\" (default), \"create_time\" or \"priority desc\"");
  jobs->add_option("--limit", list->limit, "At most this many")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  AddOutputFlag(*jobs, list->output);

  auto show = std::make_shared<ShowOptions>();
  CLI::App* show_command =
      AddCommand(app, run, "show", "Show one job: what it was given, state, attempts, metrics",
                 "graft show jobs/k3f9", show, RunShow);
  show_command->add_option("job", show->name, "Its name")->required();
  show_command->add_flag("--attempts", show->attempts,
                         "Only its attempts, with all that is known of each");

  auto watch = std::make_shared<WatchOptions>();
  CLI::App* watch_command =
      AddCommand(app, run, "watch", "Follow jobs, or a study, from the first event to the end",
                 "graft watch jobs/k3f9", watch, RunWatch);
  watch_command->add_option("job-or-study", watch->names, "Jobs, or a study (studies/s7m2)")
      ->required()
      ->expected(1, kMaxFollowedJobs);
  watch_command->add_option("--after", watch->after,
                            "Leave out events up to this sequence number, of one job");

  AddArtifactCommands(app, run);
}

}  // namespace graft
