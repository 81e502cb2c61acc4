#pragma once

#include <functional>
#include <string>

#include "graft/admin/v1/admin.pb.h"

namespace graft {

// Hears now and then how far an operation is; false ends it with CANCELLED.
using OperationProgress = std::function<bool(const admin::v1::Progress&)>;

inline admin::v1::Progress MakeProgress(const char* what, int64_t done_bytes, int64_t total_bytes) {
  admin::v1::Progress progress;
  progress.set_what(what);
  progress.set_done_bytes(done_bytes);
  progress.set_total_bytes(total_bytes);
  return progress;
}

}  // namespace graft
