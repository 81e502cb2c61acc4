#include "server/process/admin_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace graft {

absl::StatusOr<AdminSocketPath> AdminSocketPath::In(const std::string& data) {
  ASSIGN_OR_RETURN(UniqueFd directory, OpenFile(data, O_PATH | O_DIRECTORY));
  std::string path = absl::StrCat("/proc/self/fd/", directory.get(), "/admin.sock");
  return AdminSocketPath(std::move(directory), std::move(path));
}

absl::StatusOr<UniqueFd> ListenAtAdminSocket(const AdminSocketPath& socket) {
  UniqueFd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::copy(socket.path().begin(), socket.path().end(), address.sun_path);
  RemoveFile(socket.path()).IgnoreError();
  // The file gets the mode that the socket has when it is bound.
  if (listening.valid() && ::fchmod(listening.get(), 0600) == 0 &&
      ::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      ::listen(listening.get(), SOMAXCONN) == 0) {
    return listening;
  }
  return absl::UnavailableError(std::strerror(errno));
}

}  // namespace graft
