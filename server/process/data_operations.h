#pragma once

// Operations of whoever has the data: the server that runs, by its admin.sock, or, where none does,
// this process, which takes the data's locks for as long.

#include <memory>

#include "absl/status/statusor.h"
#include "graft/admin/v1/admin.pb.h"
#include "server/operations/operation_progress.h"
#include "server/process/server_flags.h"

namespace graft {

class DataOperations {
 public:
  virtual ~DataOperations() = default;

  virtual bool server_runs() const = 0;
  // See Operations.
  virtual absl::StatusOr<admin::v1::CheckReport> Check(const admin::v1::CheckRequest& request,
                                                       const OperationProgress& progress) = 0;
  virtual absl::StatusOr<admin::v1::BackUpReport> BackUp(const admin::v1::BackUpRequest& request,
                                                         const OperationProgress& progress) = 0;
  virtual absl::StatusOr<admin::v1::CollectGarbageReport> Collect(
      const admin::v1::CollectGarbageRequest& request) = 0;
};

// `flags` are complete. FAILED_PRECONDITION: a server has the data, or the store, and does not
// answer by this DATA's admin.sock. NOT_FOUND: there is no such store. INVALID_ARGUMENT: memory:,
// of which nothing is left without a server.
absl::StatusOr<std::unique_ptr<DataOperations>> OpenData(const ServerFlags& flags);

}  // namespace graft
