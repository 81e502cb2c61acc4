// graft man.

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/man_page.h"
#include "client/cli/output.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

struct ManOptions {
  const CLI::App* program = nullptr;
  std::vector<std::string> words;
  std::string folder;
};

absl::StatusOr<const CLI::App*> FindPage(const ManOptions& options) {
  const std::string wanted =
      absl::StrJoin({options.program->get_name(), absl::StrJoin(options.words, "-")},
                    options.words.empty() ? "" : "-");
  for (const CLI::App* command : WithSubcommands(*options.program)) {
    if (ManPageName(*command) == wanted) return command;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no graft ", absl::StrJoin(options.words, " ")));
}

absl::Status RunMan(CliContext& context, const ManOptions& options) {
  if (options.folder.empty()) {
    ASSIGN_OR_RETURN(const CLI::App* command, FindPage(options));
    std::fputs(ManPage(*command).c_str(), stdout);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CreateDirectories(options.folder));
  for (const CLI::App* command : WithSubcommands(*options.program)) {
    RETURN_IF_ERROR(WriteFileAtomically(
        JoinPath(options.folder, absl::StrCat(ManPageName(*command), ".1")), ManPage(*command)));
  }
  std::fputs(OneFact(context.json, "directory", options.folder, options.folder).c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddManCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<ManOptions>();
  options->program = &app;
  CLI::App* command =
      AddCommand(app, run, "man", "Print the man page of a command, or write those of all of them",
                 "graft man --to share/man/man1", options, RunMan);
  command->add_option("command", options->words, "Whose: adapters merge; default: graft's own");
  command->add_option("--to", options->folder, "Write all pages into this folder");
}

}  // namespace graft
