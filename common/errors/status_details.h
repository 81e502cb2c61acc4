#pragma once

// google.rpc details on an absl::Status: payloads keyed by type URL, as common/rpc/status.h carries
// them over gRPC. Programs tell errors apart by code and reason, never by the message.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace graft {

inline constexpr char kErrorDomain[] = "graft";

// Reasons of ErrorInfo: UPPER_SNAKE, stable, part of the API.
inline constexpr char kReasonStaleLease[] = "STALE_LEASE";
inline constexpr char kReasonVersionChanged[] = "VERSION_CHANGED";
inline constexpr char kReasonQueueFull[] = "QUEUE_FULL";
inline constexpr char kReasonDiskFull[] = "DISK_FULL";
inline constexpr char kReasonRequestIdReused[] = "REQUEST_ID_REUSED";
inline constexpr char kReasonNameTaken[] = "NAME_TAKEN";
inline constexpr char kReasonInUse[] = "IN_USE";
inline constexpr char kReasonNotDone[] = "NOT_DONE";
inline constexpr char kReasonWrongState[] = "WRONG_STATE";
inline constexpr char kReasonEventsMissing[] = "EVENTS_MISSING";
inline constexpr char kReasonStoreOwned[] = "STORE_OWNED";
inline constexpr char kReasonStoreNewer[] = "STORE_NEWER";
inline constexpr char kReasonInvalidSpec[] = "INVALID_SPEC";
inline constexpr char kReasonOutcomeUnknown[] = "OUTCOME_UNKNOWN";
inline constexpr char kReasonNoWorker[] = "NO_WORKER";
inline constexpr char kReasonCheckpointCorrupt[] = "CHECKPOINT_CORRUPT";
// Of single violations: what the field names is not there.
inline constexpr char kReasonModelMissing[] = "MODEL_MISSING";
inline constexpr char kReasonAdapterMissing[] = "ADAPTER_MISSING";
inline constexpr char kReasonDatasetMissing[] = "DATASET_MISSING";
inline constexpr char kReasonCheckpointMissing[] = "CHECKPOINT_MISSING";

// `status` with ErrorInfo{reason, domain "graft"} added. OK stays OK.
absl::Status WithReason(absl::Status status, absl::string_view reason);
// The reason of ErrorInfo in domain "graft"; empty when there is none.
std::string ReasonOf(const absl::Status& status);

// DATA_LOSS (CHECKPOINT_CORRUPT) of the checkpoint of this step: what a worker reports instead of
// `status`, so that the job goes on from an earlier one.
absl::Status CheckpointCorrupt(const absl::Status& status, int64_t step);
// The step of such a status as it is reported; nothing of others.
std::optional<int64_t> CorruptCheckpointOf(const google::rpc::Status& status);

// `status` with RetryInfo added: the caller should wait this long.
absl::Status WithRetryDelay(absl::Status status, absl::Duration delay);
// RESOURCE_EXHAUSTED (QUEUE_FULL) with RetryInfo.
absl::Status Overloaded(absl::string_view what, absl::Duration retry_after);
// Zero when the status has no RetryInfo.
absl::Duration RetryDelayOf(const absl::Status& status);

// RESOURCE_EXHAUSTED (DISK_FULL), to be tried again in a minute.
absl::Status DiskFull(absl::string_view message);

// Collects what is wrong with a request, so that one answer names all of it.
class Violations {
 public:
  // `field` is the path in the request: "job.spec.fine_tune.method.lora.rank". `reason` is one of
  // those above, or none.
  void Add(absl::string_view field, absl::string_view description, absl::string_view reason = "");
  // Those of a status; nothing happens when it has none.
  void AddAll(const absl::Status& status);
  bool empty() const { return request_.field_violations().empty(); }
  // OK when there are none; else INVALID_ARGUMENT with google.rpc.BadRequest and the reason
  // INVALID_SPEC, or NOT_FOUND when each is of something that is missing. The message is
  // "field: description", of all of them joined by "; ".
  absl::Status ToStatus() const;
  // `status` with these as its BadRequest and in its message: what it is about in another code.
  // Whatever else it carries stays; OK stays OK.
  absl::Status Explain(const absl::Status& status) const;

 private:
  google::rpc::BadRequest request_;
};

// INVALID_ARGUMENT with a single violation.
absl::Status FieldViolation(absl::string_view field, absl::string_view description);
// The violations of a status; empty when it has no BadRequest.
std::vector<google::rpc::BadRequest::FieldViolation> FieldViolationsOf(const absl::Status& status);

}  // namespace graft
