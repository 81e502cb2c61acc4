#pragma once

// DATA/admin.sock, by which the commands of graft-server reach the one that runs. Both sides go to
// it by a descriptor of its directory, /proc/self/fd/N/admin.sock: sockaddr_un has room for 107
// bytes of a path, and DATA may have more.

#include <string>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace graft {

// A socket's way to a directory; as long as it lives the path leads there.
class AdminSocketPath {
 public:
  // Codes of common/base/file.h.
  static absl::StatusOr<AdminSocketPath> In(const std::string& data);

  const std::string& path() const { return path_; }

 private:
  AdminSocketPath(UniqueFd directory, std::string path)
      : directory_(std::move(directory)), path_(std::move(path)) {}

  UniqueFd directory_;
  std::string path_;
};

// Listens at it, mode 0600 from the first moment on, and does not block. Takes the place of what a
// server that was killed left: the caller holds the directory's lock. UNAVAILABLE: the system does
// not let it.
absl::StatusOr<UniqueFd> ListenAtAdminSocket(const AdminSocketPath& socket);

}  // namespace graft
