#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/blobs/file_blob_store.h"
#include "common/text/data_problems.h"
#include "graft/v1/spec.pb.h"
#include "server/store/job_store.h"
#include "server/streams/wanted.h"

namespace graft {

// Verdicts that are remembered; the oldest goes for a new one.
inline constexpr size_t kMaxDataVerdicts = 2000;

// Can a job read the data sets that it names, every row, with the fields that it names? The rules
// are the engine's (DataReader). A verdict follows from bytes, format and fields alone, so it is
// made once for these and remembered; not longer than the server runs, for reading a file again
// costs some seconds a gigabyte, and what is remembered for ever would judge by the rules of an
// older build. Thread-safe.
class DataChecks {
 public:
  DataChecks(JobStore& store, const FileBlobStore& blobs, Clock& clock)
      : store_(store), blobs_(blobs), clock_(clock) {}

  // What is known of the data sets of a resolved spec: OK or INVALID_ARGUMENT with a violation for
  // each problem, at the data set's field below `path`. Nothing: a file must be read first. Quick.
  // A data set without a hash is not there yet, and no problem. Else codes of JobStore::GetDataset.
  std::optional<absl::Status> Known(const v1::JobSpec& resolved, absl::string_view path) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Reads what is not known, which takes long; the same file is read by one at a time, whom the
  // others wait for. Then what Known says. CANCELLED: `give_up` says so; else codes of
  // FileBlobStore::PathOf and JobStore::GetDataset.
  absl::Status Check(const v1::JobSpec& resolved, absl::string_view path, const Gone& give_up)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // What a job reads of a data set.
  struct Use;

  absl::StatusOr<std::vector<Use>> UsesOf(const v1::JobSpec& resolved,
                                          absl::string_view path) const;
  absl::Status Read(const Use& use, const Gone& give_up) ABSL_LOCKS_EXCLUDED(mutex_);
  // False: it is known, or `give_up` says so.
  bool BeginReading(const std::string& key, const Gone& give_up) ABSL_LOCKS_EXCLUDED(mutex_);

  JobStore& store_;
  const FileBlobStore& blobs_;
  Clock& clock_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::map<std::string, DataProblems> verdicts_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> keys_ ABSL_GUARDED_BY(mutex_);  // Of verdicts_, the oldest first.
  std::set<std::string> reading_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
