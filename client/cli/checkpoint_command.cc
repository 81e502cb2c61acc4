// graft checkpoints.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/listing.h"
#include "client/cli/output.h"
#include "client/cli/proto_fields.h"
#include "client/cli/usage.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "common/jobs/continuation.h"
#include "common/jobs/names.h"

namespace graft {
namespace {

struct CheckpointOptions {
  std::string job;
  std::optional<int64_t> pin;
  std::optional<int64_t> unpin;
  std::optional<int64_t> download;
  std::string to;
  std::string output;
};

absl::Status ListCheckpoints(CliContext& context, const std::string& job,
                             const std::string& output) {
  ASSIGN_OR_RETURN(const OutputFormat format, FormatOf(context, output));
  ASSIGN_OR_RETURN(const v1::ListJobCheckpointsResponse response,
                   context.client->ListJobCheckpoints(job));
  Listing list(format, {{"CHECKPOINT", "name"},
                        {"STEP>", "step"},
                        {"ATTEMPT>", "attempt"},
                        {"SIZE>", "size_bytes"},
                        {"SAVED?", "create_time"},
                        {"PINNED", "pinned"}});
  for (const v1::JobCheckpoint& checkpoint : response.checkpoints()) {
    const std::string attempt = checkpoint.attempt() > 0 ? absl::StrCat(checkpoint.attempt()) : "";
    list.Add(checkpoint, {{checkpoint.name()},
                          {absl::StrCat(checkpoint.step())},
                          TextCell(attempt),
                          BytesCell(checkpoint.size_bytes()),
                          TimeCell(checkpoint.create_time()),
                          BoolCell(checkpoint.pinned())});
  }
  list.End();
  return absl::OkStatus();
}

absl::Status Pin(CliContext& context, const std::string& name, bool pinned) {
  ASSIGN_OR_RETURN(const v1::JobCheckpoint checkpoint,
                   context.client->PinJobCheckpoint(name, pinned));
  if (context.json) {
    std::puts(ToJson(checkpoint).c_str());
  } else {
    std::printf("%s is %s\n", checkpoint.name().c_str(), pinned ? "pinned" : "not pinned any more");
  }
  return absl::OkStatus();
}

absl::Status Download(CliContext& context, const std::string& id, int64_t step, std::string to) {
  if (to.empty()) to = absl::StrCat(id, "-", step);
  const std::string name = CheckpointName(JobName(id), step);
  RETURN_IF_ERROR(
      EndableDownload(context, [&] { return context.client->DownloadJobCheckpoint(name, to); }));
  std::fputs(OneFact(context.json, "directory", to, to).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status RunCheckpoints(CliContext& context, const CheckpointOptions& options) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(options.job, "job"));
  const std::string job = JobName(id);
  if (options.pin) RETURN_IF_ERROR(Pin(context, CheckpointName(job, *options.pin), true));
  if (options.unpin) RETURN_IF_ERROR(Pin(context, CheckpointName(job, *options.unpin), false));
  if (options.download) {
    RETURN_IF_ERROR(Download(context, id, *options.download, options.to));
  }
  if (options.pin || options.unpin || options.download) return absl::OkStatus();
  return ListCheckpoints(context, job, options.output);
}

}  // namespace

void AddCheckpointsCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<CheckpointOptions>();
  CLI::App* command =
      AddCommand(app, run, "checkpoints", "List the states that a job could go on from",
                 "graft checkpoints jobs/k3f9", options, RunCheckpoints);
  command->add_option("job", options->job, "Its name")->required();
  const CLI::Range steps(int64_t{1}, kMaxSteps);
  command->add_option("--pin", options->pin, "Keep the one of this step")->check(steps);
  command->add_option("--unpin", options->unpin, "Let it go again")->check(steps);
  CLI::Option* download =
      command
          ->add_option("--download", options->download,
                       "What was trained up to this step, as an adapter that PEFT loads")
          ->check(steps);
  command
      ->add_option("--to", options->to,
                   "A folder that does not exist; default: the job's id and the step")
      ->needs(download);
  AddOutputFlag(*command, options->output);
}

}  // namespace graft
