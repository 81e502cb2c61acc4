#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "server/store/memory_backend.h"
#include "server/store/sqlite_backend.h"
#include "server/store/transactional_store.h"

namespace graft {

absl::StatusOr<std::unique_ptr<JobStore>> OpenJobStore(absl::string_view uri,
                                                       StoreOptions options) {
  auto listeners = std::make_shared<JobListeners>();
  std::unique_ptr<Backend> backend;
  absl::string_view path = uri;
  if (uri == "memory:") {
    backend = MakeMemoryBackend(options, listeners);
  } else if (absl::ConsumePrefix(&path, "sqlite:") && !path.empty()) {
    ASSIGN_OR_RETURN(backend, OpenSqliteBackend({std::string(path)}, options, listeners));
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("--store: \"", uri, "\" is neither sqlite:PATH nor memory:"));
  }
  return MakeTransactionalStore(std::move(options), std::move(listeners), std::move(backend));
}

}  // namespace graft
