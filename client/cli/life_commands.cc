// graft cancel, pause, resume, checkpoint, retry, continue, edit.

#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/command.h"
#include "client/cli/job_file.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"
#include "client/cli/proto_fields.h"
#include "client/cli/terminal.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_spec.h"

namespace graft {
namespace {

struct LifeOptions {
  std::string name;
  bool watch = false;
  bool from_scratch = false;
  bool save = false;
};

struct ContinueOptions {
  std::string job;
  std::optional<int32_t> more_epochs;
  std::optional<int64_t> more_steps;
  std::string display_name;
  std::string output_name;
  bool watch = false;
};

struct EditOptions {
  std::string name;
  std::optional<std::string> display_name;
  std::optional<std::string> deadline;
  std::optional<bool> allow_migration;
  std::optional<int32_t> priority;
  std::vector<std::string> labels;
  std::vector<std::string> removed_labels;
};

void PrintState(const CliContext& context, const v1::Job& job, const std::string& more) {
  if (context.json) {
    std::puts(ToJson(job).c_str());
    return;
  }
  std::printf("%s is %s%s\n", job.name().c_str(), StateText(job.state()).c_str(),
              Printable(more).c_str());
}

absl::Status RunCancel(CliContext& context, const LifeOptions& options) {
  ASSIGN_OR_RETURN(const v1::Job job, context.client->CancelJob(options.name, options.save));
  PrintState(context, job,
             job.cancel_saves()
                 ? absl::StrCat(": it ends its step and saves first; ", GraftCommand(context),
                                " retry ", job.name(), " goes on from there")
                 : "");
  return absl::OkStatus();
}

absl::Status RunPause(CliContext& context, const LifeOptions& options) {
  ASSIGN_OR_RETURN(const v1::Job job, context.client->PauseJob(options.name));
  PrintState(context, job,
             job.state() == v1::JOB_STATE_PAUSING
                 ? absl::StrCat(": it ends its step and saves; then ", GraftCommand(context),
                                " resume ", job.name())
                 : "");
  return absl::OkStatus();
}

absl::Status RunResume(CliContext& context, const LifeOptions& options) {
  ASSIGN_OR_RETURN(const v1::Job job, context.client->ResumeJob(options.name));
  PrintState(context, job, absl::StrCat(": ", job.state_reason()));
  return options.watch ? FollowJob(context, job.name(), job.last_sequence() - 1) : absl::OkStatus();
}

absl::Status RunCheckpoint(CliContext& context, const LifeOptions& options) {
  ASSIGN_OR_RETURN(const v1::Job job, context.client->CheckpointJob(options.name));
  PrintState(
      context, job,
      absl::StrCat(" at step ", job.step(), "; it saves its state at the end of a step soon"));
  return absl::OkStatus();
}

absl::Status RunRetry(CliContext& context, const LifeOptions& options) {
  ASSIGN_OR_RETURN(const v1::Job job, context.client->RetryJob(options.name, options.from_scratch));
  PrintState(context, job, absl::StrCat(": ", job.state_reason()));
  return options.watch ? FollowJob(context, job.name(), 0) : absl::OkStatus();
}

// The job's spec, for a whole run that ends so much after its checkpoint.
absl::StatusOr<v1::Job> ContinuationOf(const v1::Job& job, const v1::JobCheckpoint& checkpoint,
                                       const ContinueOptions& options) {
  v1::Job next;
  next.set_display_name(options.display_name.empty() ? job.display_name() : options.display_name);
  *next.mutable_labels() = job.labels();
  next.set_priority(job.priority());
  next.set_study(job.study());
  *next.mutable_spec() = job.resolved_spec();
  ClearResolution(*next.mutable_spec());
  v1::FineTuneSpec& spec = *next.mutable_spec()->mutable_fine_tune();
  spec.set_init_from(checkpoint.name());
  spec.set_output_name(options.output_name);
  v1::TrainingSpec& training = *spec.mutable_training();
  if (options.more_steps) {
    training.set_max_steps(checkpoint.step() + *options.more_steps);
    return next;
  }
  if (training.has_max_steps() || job.total_steps() < training.epochs()) {
    return absl::FailedPreconditionError(
        absl::StrCat("how many steps an epoch of ", job.name(),
                     " has is not known here: give --more-steps instead of --more-epochs"));
  }
  const int64_t steps_per_epoch = job.total_steps() / training.epochs();
  const int64_t begun = (checkpoint.step() + steps_per_epoch - 1) / steps_per_epoch;
  training.set_epochs(static_cast<int32_t>(begun) + *options.more_epochs);
  return next;
}

absl::Status RunContinue(CliContext& context, const ContinueOptions& options) {
  if (options.more_epochs.has_value() == options.more_steps.has_value()) {
    return absl::InvalidArgumentError("give one of --more-epochs and --more-steps");
  }
  ASSIGN_OR_RETURN(const v1::Job job, context.client->GetJob(options.job));
  ASSIGN_OR_RETURN(const v1::ListJobCheckpointsResponse checkpoints,
                   context.client->ListJobCheckpoints(options.job));
  if (checkpoints.checkpoints().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(job.name(), " has no checkpoint to go on from",
                     job.done() && job.resolved_spec().has_fine_tune()
                         ? "; the server keeps a job's last one for --keep-checkpoints-days"
                         : ""));
  }
  v1::CreateJobRequest request;
  ASSIGN_OR_RETURN(*request.mutable_job(),
                   ContinuationOf(job, checkpoints.checkpoints(0), options));
  ASSIGN_OR_RETURN(const v1::Job next, context.client->CreateJob(std::move(request)));
  PrintState(context, next, absl::StrCat(": ", next.state_reason()));
  return options.watch ? FollowJob(context, next.name(), 0) : absl::OkStatus();
}

absl::StatusOr<v1::UpdateJobRequest> ToRequest(const EditOptions& options) {
  v1::UpdateJobRequest request;
  v1::Job& job = *request.mutable_job();
  job.set_name(options.name);
  auto& mask = *request.mutable_update_mask();
  if (options.display_name) {
    job.set_display_name(*options.display_name);
    mask.add_paths("display_name");
  }
  if (options.priority) {
    job.set_priority(*options.priority);
    mask.add_paths("priority");
  }
  if (options.deadline) {
    mask.add_paths("deadline");
    if (*options.deadline != "none") {
      RETURN_IF_ERROR(Annotate(SetField(job, "deadline", *options.deadline), "--deadline"));
    }
  }
  if (options.allow_migration) {
    job.set_allow_migration(*options.allow_migration);
    mask.add_paths("allow_migration");
  }
  for (const std::string& label : options.labels) {
    const std::pair<std::string, std::string> entry =
        absl::StrSplit(label, absl::MaxSplits('=', 1));
    if (entry.first.empty() || entry.first.size() == label.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--label: \"", label, "\" is not of the form key=value"));
    }
    (*job.mutable_labels())[entry.first] = entry.second;
    mask.add_paths(absl::StrCat(kLabelPath, entry.first));
  }
  for (const std::string& key : options.removed_labels) {
    if (job.labels().contains(key)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--remove-label: \"", key, "\" is given to --label, too"));
    }
    mask.add_paths(absl::StrCat(kLabelPath, key));
  }
  if (mask.paths().empty()) {
    return absl::InvalidArgumentError(
        "nothing to change: give --name, --priority, --deadline, --allow-migration, --label or "
        "--remove-label");
  }
  return request;
}

absl::Status RunEdit(CliContext& context, const EditOptions& options) {
  ASSIGN_OR_RETURN(v1::UpdateJobRequest request, ToRequest(options));
  ASSIGN_OR_RETURN(const v1::Job job, context.client->UpdateJob(std::move(request)));
  if (context.json) {
    std::puts(ToJson(job).c_str());
  } else {
    std::printf("%s is changed\n", job.name().c_str());
  }
  return absl::OkStatus();
}

CLI::App* AddLifeCommand(CLI::App& app, RunCommand& run, const std::string& name,
                         const std::string& description,
                         const std::shared_ptr<LifeOptions>& options,
                         absl::Status (*body)(CliContext&, const LifeOptions&)) {
  CLI::App* command = AddCommand(app, run, name, description,
                                 absl::StrCat("graft ", name, " jobs/k3f9"), options, body);
  command->add_option("job", options->name, "Its name")->required();
  return command;
}

}  // namespace

void AddLifeCommands(CLI::App& app, RunCommand& run) {
  auto cancel = std::make_shared<LifeOptions>();
  AddLifeCommand(app, run, "cancel", "Cancel a job that is not done", cancel, RunCancel)
      ->add_flag("--save", cancel->save,
                 "Let a running one end its step and save first; once more without it: at once");
  AddLifeCommand(app, run, "pause",
                 "Pause a job: it ends its step, saves its state and frees the device",
                 std::make_shared<LifeOptions>(), RunPause);
  auto resume = std::make_shared<LifeOptions>();
  AddLifeCommand(app, run, "resume", "Let a paused job go on, with the numbers it would have had",
                 resume, RunResume)
      ->add_flag("--watch", resume->watch, "Follow it to its end");
  AddLifeCommand(app, run, "checkpoint", "Save the state of a running job at the end of its step",
                 std::make_shared<LifeOptions>(), RunCheckpoint);
  auto retry = std::make_shared<LifeOptions>();
  CLI::App* retry_command =
      AddLifeCommand(app, run, "retry",
                     "Let a job that failed or was cancelled go on, as a new job", retry, RunRetry);
  retry_command->add_flag("--from-scratch", retry->from_scratch, "Begin anew");
  retry_command->add_flag("--watch", retry->watch, "Follow it to its end");

  auto more = std::make_shared<ContinueOptions>();
  CLI::App* continue_command =
      AddCommand(app, run, "continue",
                 "Train a job for longer, as a new job that goes on from its newest checkpoint",
                 "graft continue jobs/k3f9 --more-epochs 3 --watch", more, RunContinue);
  continue_command->add_option("job", more->job, "Its name")->required();
  continue_command
      ->add_option("--more-epochs", more->more_epochs, "Passes over the data after the checkpoint")
      ->check(CLI::Range(1, kMaxEpochs));
  continue_command
      ->add_option("--more-steps", more->more_steps, "Optimiser steps after the checkpoint")
      ->check(CLI::Range(int64_t{1}, kMaxSteps));
  continue_command->add_option("--name", more->display_name, "A name for people [that job's]");
  continue_command->add_option("--output-name", more->output_name,
                               "Name of the adapter [the new job's id]");
  continue_command->add_flag("--watch", more->watch, "Follow it to its end");

  auto edit = std::make_shared<EditOptions>();
  CLI::App* edit_command =
      AddCommand(app, run, "edit", "Change a job's name, priority, deadline or labels",
                 "graft edit jobs/k3f9 --priority 10 --label who=anna", edit, RunEdit);
  edit_command->add_option("job", edit->name, "Its name")->required();
  edit_command->add_option("--name", edit->display_name, "Another name for people");
  edit_command->add_option("--priority", edit->priority, "Higher runs first, -1000 to 1000");
  edit_command->add_option("--deadline", edit->deadline,
                           "It fails if it is not done by then: 8h (from now), "
                           "\"2026-11-28 08:00\"; none: no deadline");
  edit_command->add_option("--allow-migration", edit->allow_migration,
                           "true: it may go on on another kind of device; its last bits differ "
                           "then");
  edit_command->add_option("--label", edit->labels, "KEY=VALUE, may be repeated");
  edit_command->add_option("--remove-label", edit->removed_labels, "KEY, may be repeated");
}

}  // namespace graft
