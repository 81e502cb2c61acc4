#pragma once

// Symbolic links and exchanges of names, for views that change in one step. Codes as in file.h.

#include <string>

#include "absl/status/status.h"

namespace graft {

// symlink(2): `path` becomes a link to whatever is called `target`. ALREADY_EXISTS.
absl::Status LinkByName(const std::string& target, const std::string& path);
// renameat2(2): each gets the other's name, in one step; then fsync of both directories.
absl::Status ExchangeAndSync(const std::string& one, const std::string& other);

}  // namespace graft
