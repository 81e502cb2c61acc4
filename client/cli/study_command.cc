// graft study: create, list, show, watch, best, plot, pause, resume, cancel, delete.

#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/job_file.h"
#include "client/cli/job_flags.h"
#include "client/cli/listing.h"
#include "client/cli/live_block.h"
#include "client/cli/output.h"
#include "client/cli/plot_output.h"
#include "client/cli/study_flags.h"
#include "client/cli/study_plots.h"
#include "client/cli/study_submission.h"
#include "client/cli/study_view.h"
#include "client/cli/terminal.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr char kCreateExample[] =
    "graft study create --base-model gpt2 --method lora --rank 2,4 --train articles.jsonl \\\n"
    "    --validation-fraction 0.1 --max-steps 40 --halving 10 --watch\n"
    "  graft study create --base-model gpt2 --method lora --train articles.jsonl \\\n"
    "    --validation-fraction 0.1 --log-range learning-rate=1e-5..1e-2 --random 20 \\\n"
    "    --objective eval/rougeL --validate-only";

struct StudyOptions {
  std::string name;
};

StudyLook LookOf(int fd) { return {LineRoom(fd), 1000, IsUtf8Locale()}; }

void PrintStudy(const CliContext& context, const v1::Study& study) {
  if (context.json) {
    std::puts(ToJson(study).c_str());
    return;
  }
  const StudyLook look = LookOf(STDOUT_FILENO);
  std::string text = absl::StrCat(study.name(), "  ", study.display_name(), "\n", StudyLine(study),
                                  "\n", study.state_reason(), "\n\n", TrialTable(study, look));
  const std::string ranking = RankingTable(study, look);
  if (study.repeats() > 1 && !ranking.empty()) absl::StrAppend(&text, "\n", ranking);
  std::fputs(Printable(text).c_str(), stdout);
}

absl::Status RunShow(CliContext& context, const StudyOptions& options) {
  ASSIGN_OR_RETURN(const v1::Study study, context.client->GetStudy(options.name));
  PrintStudy(context, study);
  return absl::OkStatus();
}

struct StudyListOptions {
  std::string output;
};

absl::Status RunList(CliContext& context, const StudyListOptions& options) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, options.output));
  Listing list(format, {{"STUDY", "name"},
                        {"NAME~", "display_name"},
                        {"STATE", "state"},
                        {"CREATED?", "create_time"},
                        {"", "end_time"},
                        {"BEST?", "best_trial"},
                        {"ADAPTER~?", "adapter"}});
  v1::ListStudiesRequest request;
  do {
    ASSIGN_OR_RETURN(const v1::ListStudiesResponse page, context.client->ListStudies(request));
    for (const v1::Study& study : page.studies()) {
      list.Add(study, {{study.name()},
                       {study.display_name()},
                       {StudyStateText(study.state())},
                       TimeCell(study.create_time()),
                       TimeCell(study.end_time()),
                       study.best_trial() > 0 ? Cell{absl::StrCat("trial ", study.best_trial()),
                                                     absl::StrCat(study.best_trial())}
                                              : TextCell(""),
                       TextCell(study.adapter())});
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  if (list.size() == 0 && format == OutputFormat::kTable) {
    std::fputs("graft: no studies. graft study create --help shows how one begins\n", stderr);
    return absl::OkStatus();
  }
  list.End();
  return absl::OkStatus();
}

absl::Status RunBest(CliContext& context, const StudyOptions& options) {
  ASSIGN_OR_RETURN(const v1::Study study, context.client->GetStudy(options.name));
  if (study.ranking().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(study.name(), " has no number yet: ", StudyLine(study)));
  }
  if (context.json) {
    std::puts(ToJson(study.ranking(0)).c_str());
    return absl::OkStatus();
  }
  std::fputs(Printable(RankingTable(study, LookOf(STDOUT_FILENO))).c_str(), stdout);
  const std::string& output = study.adapter().empty() ? study.model() : study.adapter();
  if (!output.empty()) {
    std::printf("\nadapter: %s (%s adapters download %s)\n", Printable(output).c_str(),
                GraftCommand(context).c_str(), Printable(output).c_str());
  } else if (!study.done()) {
    std::puts("\nso far: the study goes on");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FollowStudy(CliContext& context, const std::string& name) {
  context.interrupts->EndStreamsFirst();
  LiveBlock block(stdout);
  const bool live = block.live() && !context.json;
  const auto redraw = [&] {
    if (!live) return;
    const absl::StatusOr<v1::Study> study = context.client->GetStudy(name);
    if (!study.ok()) return;  // The stream tells why.
    StudyLook look = LookOf(STDOUT_FILENO);
    look.max_trials = block.rows() > 4 ? block.rows() - 4 : 1;
    block.Draw(
        absl::StrCat(OneLine(absl::StrCat(study->name(), ": ", StudyLine(*study)), look.room), "\n",
                     TrialTable(*study, look)));
  };
  const absl::Status watched = context.client->WatchStudy(
      name, 0,
      [&](const v1::WatchStudyResponse& response) {
        if (context.json && response.has_event()) std::puts(ToJson(response.event()).c_str());
        if (!context.json && !live && response.has_event()) {
          std::fputs(Printable(StudyEventLine(response.event())).c_str(), stdout);
        }
        std::fflush(stdout);
        redraw();
        return !context.interrupts->interrupted();
      },
      [&](const absl::Status& why) {
        std::fprintf(stderr, "graft: the stream broke (%s); connecting again\n",
                     std::string(why.message()).c_str());
      });
  block.Erase();
  if (context.interrupts->interrupted()) {
    std::fprintf(stderr, "graft: stopped watching; %s goes on. Again: %s study watch %s\n",
                 name.c_str(), GraftCommand(context).c_str(), name.c_str());
    return AlreadyPrinted(absl::StatusCode::kCancelled);
  }
  RETURN_IF_ERROR(watched);
  ASSIGN_OR_RETURN(const v1::Study study, context.client->GetStudy(name));
  if (!context.json) PrintStudy(context, study);
  return study.state() == v1::STUDY_STATE_SUCCEEDED
             ? absl::OkStatus()
             : AlreadyPrinted(absl::StatusCode::kFailedPrecondition);
}

namespace {

absl::Status RunWatch(CliContext& context, const StudyOptions& options) {
  return FollowStudy(context, options.name);
}

absl::Status SayState(const CliContext& context, const absl::StatusOr<v1::Study>& study) {
  RETURN_IF_ERROR(study.status());
  if (context.json) {
    std::puts(ToJson(*study).c_str());
  } else {
    std::printf("%s is %s\n", study->name().c_str(), StudyStateText(study->state()).c_str());
  }
  return absl::OkStatus();
}

absl::Status RunPause(CliContext& context, const StudyOptions& options) {
  return SayState(context, context.client->PauseStudy(options.name));
}

absl::Status RunResume(CliContext& context, const StudyOptions& options) {
  return SayState(context, context.client->ResumeStudy(options.name));
}

absl::Status RunCancel(CliContext& context, const StudyOptions& options) {
  return SayState(context, context.client->CancelStudy(options.name));
}

absl::Status RunDelete(CliContext& context, const StudyOptions& options) {
  RETURN_IF_ERROR(context.client->DeleteStudy(options.name));
  std::fputs(OneFact(context.json, "deleted", options.name, absl::StrCat("deleted ", options.name))
                 .c_str(),
             stdout);
  return absl::OkStatus();
}

struct StudyPlotOptions {
  std::string name;
  std::string output;
};

absl::Status RunStudyPlot(CliContext& context, const StudyPlotOptions& options) {
  RETURN_IF_ERROR(CheckPlotFile(options.output));
  ASSIGN_OR_RETURN(const v1::Study study, context.client->GetStudy(options.name));
  const std::vector<Plot> plots = StudyPlots(study);
  if (plots.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(study.name(), " has no number yet: ", StudyLine(study)));
  }
  return ShowPlots(context, plots, options.output);
}

void AddStudyPlot(CLI::App& studies, RunCommand& run) {
  auto options = std::make_shared<StudyPlotOptions>();
  CLI::App* command = AddCommand(
      studies, run, "plot",
      "Draw the objective against each field that trials differ in: in the terminal, or as SVG",
      "graft study plot studies/s7m2 --output ranks.svg", options, RunStudyPlot);
  command->add_option("study", options->name, "Its name")->required();
  command->add_option("--output", options->output, "Write an SVG picture to this file");
}

struct CreateOptions {
  StudySubmission submission;
  bool watch = false;
};

absl::Status RunCreate(CliContext& context, const CreateOptions& options) {
  ASSIGN_OR_RETURN(const v1::Study study,
                   SubmitStudy(context, options.submission, FineTuneFlags()));
  if (options.submission.validate_only && !context.json) {
    std::fprintf(
        stderr, "graft: valid; it would have %d trials%s\n", study.trials_size(),
        study.exhaustive_steps() > 0
            ? absl::StrCat(", at most ", FormatCount(study.exhaustive_steps()), " steps").c_str()
            : "");
    std::fputs(Printable(PlanTable(study, LookOf(STDOUT_FILENO))).c_str(), stdout);
    return absl::OkStatus();
  }
  PrintStudy(context, study);
  if (options.submission.validate_only || !options.watch) return absl::OkStatus();
  return FollowStudy(context, study.name());
}

void AddCreate(CLI::App& studies, RunCommand& run) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* command =
      AddCommand(studies, run, "create",
                 "Begin a study: flags with several values, and ranges, are what trials differ in",
                 kCreateExample, options, RunCreate);
  AddStudyFlags(*command, options->submission);
  command->add_flag("--watch", options->watch, "Follow the study to its end");
}

}  // namespace

void AddStudyCommands(CLI::App& app, RunCommand& run) {
  CLI::App* studies = app.add_subcommand(
      "study", "Studies: create, list, show, watch, best, plot, pause, resume, cancel, delete");
  studies->require_subcommand(1)->fallthrough();
  AddCreate(*studies, run);
  auto list = std::make_shared<StudyListOptions>();
  AddOutputFlag(*AddCommand(*studies, run, "list", "List studies, newest first", "graft study list",
                            list, RunList),
                list->output);
  AddStudyPlot(*studies, run);
  using Body = absl::Status (*)(CliContext&, const StudyOptions&);
  const struct {
    const char* name;
    const char* description;
    Body body;
  } commands[] = {
      {"show", "Show a study's trials and its ranking", RunShow},
      {"watch", "Follow a study to its end", RunWatch},
      {"best", "Show which points are the best, and how sure that is", RunBest},
      {"pause", "Pause a study and its jobs", RunPause},
      {"resume", "Let a paused study go on", RunResume},
      {"cancel", "Cancel a study and its jobs", RunCancel},
      {"delete", "Delete a study that is done, its jobs and their adapters but the best",
       RunDelete},
  };
  for (const auto& [name, description, body] : commands) {
    auto options = std::make_shared<StudyOptions>();
    AddCommand(*studies, run, name, description,
               absl::StrCat("graft study ", name, " studies/s7m2"), options, body)
        ->add_option("study", options->name, "Its name")
        ->required();
  }
}

}  // namespace graft
