#pragma once

// absl::Status over gRPC, details included. Inside a program the details are payloads of the
// status, keyed by their type URL
// ("type.googleapis.com/google.rpc.BadRequest") and serialised; on the wire they are the
// google.rpc.Status that gRPC carries in the trailer grpc-status-details-bin
// (https://google.aip.dev/193). Server, worker and client all convert here.

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace graft {

inline constexpr char kTypeUrlPrefix[] = "type.googleapis.com/";

// Bytes of the message that are no UTF-8 become U+FFFD.
google::rpc::Status ToRpcStatus(const absl::Status& status);
absl::Status FromRpcStatus(const google::rpc::Status& status);

grpc::Status ToGrpcStatus(const absl::Status& status);
// Details that do not parse are dropped; code and message stay.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace graft
