#pragma once

// Servers by name, as their user keeps them, and which of them is asked.

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace graft {

struct Contexts {
  std::map<std::string, std::string> servers;  // Addresses, by context.
  std::string current;                         // Empty: none.
};

// $XDG_CONFIG_HOME/graft/contexts.yaml, or below ~/.config.
std::string ContextsPath();
// A file that is not there has none. INVALID_ARGUMENT says what of it is wrong.
absl::StatusOr<Contexts> ReadContexts(const std::string& path);
absl::Status WriteContexts(const std::string& path, const Contexts& contexts);

// The address of a context. INVALID_ARGUMENT: there is none of that name.
absl::StatusOr<std::string> ServerOfContext(const Contexts& contexts, const std::string& name);

// What is asked where no flag says it: GRAFT_SERVER, else the context that GRAFT_CONTEXT names,
// else the current one, else this machine's. Of a file that cannot be read: INVALID_ARGUMENT.
absl::StatusOr<std::string> UsualServer();

}  // namespace graft
