// graft context: list, set, use, delete.

#include <unistd.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/contexts.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace graft {
namespace {

struct ContextOptions {
  std::string name;
  std::string address;
};

// Reads, changes and writes the user's contexts.
absl::Status ChangeContexts(const std::function<absl::Status(Contexts&)>& change) {
  ASSIGN_OR_RETURN(Contexts contexts, ReadContexts(ContextsPath()));
  RETURN_IF_ERROR(change(contexts));
  return WriteContexts(ContextsPath(), contexts);
}

absl::Status RunListContexts(CliContext& context, const ContextOptions&) {
  ASSIGN_OR_RETURN(const Contexts contexts, ReadContexts(ContextsPath()));
  Table table({"CONTEXT", "SERVER", "CURRENT"});
  for (const auto& [name, server] : contexts.servers) {
    const bool current = name == contexts.current;
    if (context.json) {
      const nlohmann::json json = {{"name", name}, {"server", server}, {"current", current}};
      std::puts(json.dump().c_str());
    }
    table.AddRow({name, server, current ? "yes" : ""});
  }
  if (context.json) return absl::OkStatus();
  if (contexts.servers.empty()) {
    std::fputs("graft: no contexts. graft context set lab 10.0.0.5:50051 makes one\n", stderr);
    return absl::OkStatus();
  }
  std::fputs(table.ToString(LineRoom(STDOUT_FILENO)).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status RunSetContext(CliContext& context, const ContextOptions& options) {
  if (!IsSafeFileName(options.name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "name: must be 1 to ", kMaxNameBytes, " of A-Z a-z 0-9 . _ - and not begin with a dot"));
  }
  bool first = false;
  RETURN_IF_ERROR(ChangeContexts([&](Contexts& contexts) {
    contexts.servers[options.name] = options.address;
    first = contexts.servers.size() == 1;
    if (first) contexts.current = options.name;
    return absl::OkStatus();
  }));
  std::fputs(OneFact(context.json, "context", options.name,
                     absl::StrCat(options.name, " is ", options.address,
                                  first ? "; it is asked from now on"
                                        : absl::StrCat("; graft context use ", options.name,
                                                       " asks it from then on")))
                 .c_str(),
             stdout);
  return absl::OkStatus();
}

absl::Status RunUseContext(CliContext& context, const ContextOptions& options) {
  std::string server;
  RETURN_IF_ERROR(ChangeContexts([&](Contexts& contexts) -> absl::Status {
    ASSIGN_OR_RETURN(server, ServerOfContext(contexts, options.name));
    contexts.current = options.name;
    return absl::OkStatus();
  }));
  std::fputs(OneFact(context.json, "context", options.name,
                     absl::StrCat(options.name, ", ", server, ", is asked from now on"))
                 .c_str(),
             stdout);
  return absl::OkStatus();
}

absl::Status RunDeleteContext(CliContext& context, const ContextOptions& options) {
  RETURN_IF_ERROR(ChangeContexts([&](Contexts& contexts) -> absl::Status {
    RETURN_IF_ERROR(ServerOfContext(contexts, options.name).status());
    contexts.servers.erase(options.name);
    if (contexts.current == options.name) contexts.current.clear();
    return absl::OkStatus();
  }));
  std::fputs(OneFact(context.json, "deleted", options.name, absl::StrCat("deleted ", options.name))
                 .c_str(),
             stdout);
  return absl::OkStatus();
}

}  // namespace

void AddContextCommands(CLI::App& app, RunCommand& run) {
  CLI::App* contexts =
      app.add_subcommand("context", "Servers by name, and which is asked: list, set, use, delete");
  contexts->require_subcommand(1)->fallthrough();
  AddCommand(*contexts, run, "list", "List the servers that have names", "graft context list",
             std::make_shared<ContextOptions>(), RunListContexts);
  auto set = std::make_shared<ContextOptions>();
  CLI::App* set_command =
      AddCommand(*contexts, run, "set", "Give a server a name; the first is asked from then on",
                 "graft context set lab 127.0.0.1:50051", set, RunSetContext);
  set_command->add_option("context", set->name, "The name")->required();
  set_command->add_option("address", set->address, "As --server takes it")->required();
  auto use = std::make_shared<ContextOptions>();
  AddCommand(*contexts, run, "use", "Ask this server where neither flag nor variable says another",
             "graft context use lab", use, RunUseContext)
      ->add_option("context", use->name, "Its name")
      ->required();
  auto remove = std::make_shared<ContextOptions>();
  AddCommand(*contexts, run, "delete", "Forget a name", "graft context delete lab", remove,
             RunDeleteContext)
      ->add_option("context", remove->name, "Its name")
      ->required();
}

}  // namespace graft
