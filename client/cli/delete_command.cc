// graft delete.

#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr int kMaxNamesShown = 10;

struct DeleteOptions {
  std::string name;
  std::string filter;
  bool delete_adapters = false;
  bool dry_run = false;
  bool yes = false;
};

// "3 jobs and their adapters"
std::string Jobs(int64_t count, const DeleteOptions& options) {
  return absl::StrCat(FormatCount(count), count == 1 ? " job" : " jobs",
                      !options.delete_adapters ? ""
                      : count == 1             ? " and its adapter"
                                               : " and their adapters");
}

void Print(const std::string& text) { std::fputs(Printable(text).c_str(), stdout); }

// "deleted 3 jobs", which ones, and what was left.
void PrintPurge(const std::string& done, const v1::PurgeJobsResponse& response,
                const DeleteOptions& options) {
  Print(absl::StrCat(done, " ", Jobs(response.purge_count(), options), "\n"));
  int shown = 0;
  for (const std::string& name : response.purge_sample()) {
    if (shown++ == kMaxNamesShown) break;
    Print(absl::StrCat("  ", name, "\n"));
  }
  if (response.purge_count() > kMaxNamesShown) {
    Print(absl::StrCat("  and ", FormatCount(response.purge_count() - kMaxNamesShown), " more\n"));
  }
  for (const std::string& left : response.left()) Print(absl::StrCat("left ", left, "\n"));
}

absl::StatusOr<v1::PurgeJobsResponse> Purge(CliContext& context, const DeleteOptions& options,
                                            bool force) {
  v1::PurgeJobsRequest request;
  request.set_filter(options.filter);
  request.set_delete_adapters(options.delete_adapters);
  request.set_force(force);
  return context.client->PurgeJobs(std::move(request));
}

// Asks at the terminal whether they are to be deleted. CANCELLED: they are not.
absl::Status Confirm(const v1::PurgeJobsResponse& found, const DeleteOptions& options) {
  PrintPurge("this deletes", found, options);
  Print("go on? [y/N] ");
  std::fflush(stdout);
  char line[16] = "";
  const bool answered = std::fgets(line, sizeof(line), stdin) != nullptr;
  const std::string answer = absl::AsciiStrToLower(absl::StripAsciiWhitespace(line));
  if (answered && (answer == "y" || answer == "yes")) return absl::OkStatus();
  Print("nothing was deleted\n");
  return AlreadyPrinted(absl::StatusCode::kCancelled);
}

absl::Status RunPurge(CliContext& context, const DeleteOptions& options) {
  const bool can_ask = isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0 && !context.json;
  if (!options.dry_run && !options.yes) {
    if (!can_ask) {
      return absl::InvalidArgumentError(
          "graft delete --filter asks before it deletes, and here is nobody to ask: --yes deletes "
          "without asking, --dry-run says what would be deleted");
    }
    ASSIGN_OR_RETURN(const v1::PurgeJobsResponse found, Purge(context, options, /*force=*/false));
    if (found.purge_count() > 0) RETURN_IF_ERROR(Confirm(found, options));
  }
  ASSIGN_OR_RETURN(const v1::PurgeJobsResponse response, Purge(context, options, !options.dry_run));
  if (context.json) {
    std::puts(ToJson(response).c_str());
    return absl::OkStatus();
  }
  PrintPurge(options.dry_run ? "would delete" : "deleted", response, options);
  return absl::OkStatus();
}

absl::Status RunDelete(CliContext& context, const DeleteOptions& options) {
  if (options.name.empty() == options.filter.empty()) {
    return absl::InvalidArgumentError(
        "give one of a job and --filter; --filter 'done = true' is every job that is done");
  }
  if (!options.filter.empty()) return RunPurge(context, options);
  if (options.dry_run) return absl::InvalidArgumentError("--dry-run goes with --filter");
  RETURN_IF_ERROR(context.client->DeleteJob(options.name, options.delete_adapters));
  const std::string said = absl::StrCat("deleted ", options.name);
  std::fputs(OneFact(context.json, "deleted", options.name, said).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddDeleteCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<DeleteOptions>();
  CLI::App* command = AddCommand(
      app, run, "delete", "Delete a job that is done, or all that a filter finds; adapters stay",
      "graft delete jobs/k3f9\n"
      "  graft delete --filter 'state = \"FAILED\" AND end_time < \"2026-11-01T00:00:00Z\"' "
      "--dry-run",
      options, RunDelete);
  command->add_option("job", options->name, "Its name");
  command->add_option("--filter", options->filter,
                      "Instead: of all jobs that are done, those that it finds; as graft jobs "
                      "--filter");
  command->add_flag("--with-adapter,--adapters", options->delete_adapters,
                    "Delete what it published, too");
  command->add_flag("--dry-run", options->dry_run, "With --filter: only say what would be deleted");
  command->add_flag("--yes", options->yes, "With --filter: don't ask");
}

}  // namespace graft
