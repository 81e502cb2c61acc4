#include "client/cli/contexts.h"

#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/suggest.h"
#include "yaml-cpp/yaml.h"

namespace graft {
namespace {

constexpr int64_t kMaxContextsBytes = 1 << 20;

std::string Variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<Contexts> ParseContexts(const std::string& text) {
  Contexts contexts;
  try {
    const YAML::Node file = YAML::Load(text);
    if (file.IsNull()) return contexts;
    if (!file.IsMap()) return absl::InvalidArgumentError("has no `servers` and `current`");
    for (const auto& entry : file) {
      const std::string key = entry.first.as<std::string>();
      if (key == "current") {
        contexts.current = entry.second.as<std::string>();
      } else if (key == "servers") {
        for (const auto& server : entry.second) {
          contexts.servers[server.first.as<std::string>()] = server.second.as<std::string>();
        }
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat("\"", key, "\" is not one of servers, current"));
      }
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("line ", error.mark.line + 1, ": ", error.msg));
  }
  return contexts;
}

}  // namespace

std::string ContextsPath() {
  const std::string config = Variable("XDG_CONFIG_HOME");
  return absl::StrCat(config.empty() ? absl::StrCat(Variable("HOME"), "/.config") : config,
                      "/graft/contexts.yaml");
}

absl::StatusOr<Contexts> ReadContexts(const std::string& path) {
  if (!FileExists(path)) return Contexts();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxContextsBytes));
  absl::StatusOr<Contexts> contexts = ParseContexts(text);
  RETURN_IF_ERROR(Annotate(contexts.status(), path));
  return contexts;
}

absl::Status WriteContexts(const std::string& path, const Contexts& contexts) {
  YAML::Emitter yaml;
  yaml << YAML::BeginMap << YAML::Key << "current" << YAML::Value << YAML::DoubleQuoted
       << contexts.current << YAML::Key << "servers" << YAML::Value << YAML::BeginMap;
  for (const auto& [name, server] : contexts.servers) {
    yaml << YAML::Key << YAML::DoubleQuoted << name << YAML::Value << YAML::DoubleQuoted << server;
  }
  yaml << YAML::EndMap << YAML::EndMap;
  RETURN_IF_ERROR(CreateDirectories(std::string(DirectoryOf(path))));
  return WriteFileAtomically(path, absl::StrCat(yaml.c_str(), "\n"));
}

absl::StatusOr<std::string> ServerOfContext(const Contexts& contexts, const std::string& name) {
  const auto found = contexts.servers.find(name);
  if (found != contexts.servers.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, server] : contexts.servers) names.push_back(known);
  if (names.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no context \"", name, "\"; graft context set ", name, " ADDRESS makes it"));
  }
  return Annotate(NotOneOf(name, names), "context");
}

absl::StatusOr<std::string> UsualServer() {
  const std::string server = Variable("GRAFT_SERVER");
  if (!server.empty()) return server;
  ASSIGN_OR_RETURN(const Contexts contexts, ReadContexts(ContextsPath()));
  std::string name = Variable("GRAFT_CONTEXT");
  if (name.empty()) name = contexts.current;
  return name.empty() ? CliContext().server : ServerOfContext(contexts, name);
}

}  // namespace graft
