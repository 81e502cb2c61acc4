#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/mutex.h"
#include "common/blobs/file_blob_store.h"
#include "common/blobs/publish.h"
#include "common/formats/manifest.h"
#include "graft/v1/adapter.pb.h"
#include "graft/v1/model.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/store/job_store.h"
#include "server/streams/wanted.h"

namespace graft {

// From uploaded blobs to results that people find. Two phases: what a worker uploaded is checked
// and completed by the files that are made from the event log (PrepareOutcome), then the store
// makes it current in one transaction, then the directory that shows it is made (ShowResult):
//
//   ROOT/adapters/<name>/   ROOT/models/<name>/   ROOT/evaluations/<job id>/
//
// The store is the truth; a directory that is missing is made again by Refresh, one that the store
// does not know is removed. Thread-safe; blocks on the disk.
class Publisher {
 public:
  // Makes `root`. `store` and `blobs` outlive it.
  static absl::StatusOr<std::unique_ptr<Publisher>> Open(const std::string& root, JobStore& store,
                                                         FileBlobStore& blobs);

  // Are the files' blobs here, of these sizes, and whole? INVALID_ARGUMENT: see CheckManifest;
  // FAILED_PRECONDITION: one was not uploaded, has another size, or is corrupt (and mended by
  // another upload).
  absl::Status CheckUploaded(const std::vector<v1::Artifact>& files) const;

  // What ends the attempt in the store: AttemptSucceeded, complete; or AttemptFailed, when the
  // result is broken (a bad safetensors header, files missing). Renews the lease; nothing is
  // prepared without it, for the store will refuse the attempt's end. FAILED_PRECONDITION as
  // CheckUploaded; CANCELLED: nobody waits for it any more.
  absl::StatusOr<AttemptOutcome> PrepareOutcome(
      const LeaseRef& lease, const worker::v1::FinishAttemptRequest::Succeeded& reported,
      const Gone& gone);

  // Makes the directories of a job that succeeded. What fails is logged and left to Refresh.
  void ShowResult(const std::string& job);
  absl::Status Show(const v1::Adapter& adapter);
  absl::Status Show(const v1::Model& model);

  // The directory of a model, which is made if it is missing: for the tokenizer. DATA_LOSS: one of
  // its files is corrupt; the weights are not looked at.
  absl::StatusOr<std::string> DirectoryOf(const v1::Model& model);
  std::string AdapterDirectory(absl::string_view name) const;

  // Lays `files` out as a folder for the time of `use`; for checks of what is not published yet.
  absl::Status WithFolder(const std::vector<ManifestFile>& files,
                          const std::function<absl::Status(const std::string& folder)>& use);

  // Removes the directories of an adapter, model or evaluation of this name (a job's id) as far as
  // the store does not know it any more.
  void Hide(const std::string& name);

  // Brings all directories in line with the store. Errors are logged.
  void Refresh();
  // Whether a directory could not be made since Refresh began last: it should be called again.
  bool incomplete() const { return incomplete_; }

 private:
  Publisher(std::string root, JobStore& store, FileBlobStore& blobs, ViewPublisher adapters,
            ViewPublisher models, ViewPublisher evaluations, ViewPublisher staging);

  absl::StatusOr<AttemptSucceeded> Prepare(
      const v1::Job& job, const worker::v1::FinishAttemptRequest::Succeeded& reported,
      const Gone& gone);
  absl::Status CheckSafetensors(const std::vector<ManifestFile>& files) const;
  // `shown`, having noted what could not be.
  absl::Status NoteShown(const absl::Status& shown);
  void ShowEvaluation(const std::string& job);
  void RefreshEvaluations();
  void Drop(const ViewPublisher& views, const std::string& kind, const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string root_;
  JobStore& store_;
  FileBlobStore& blobs_;
  const ViewPublisher adapters_;
  const ViewPublisher models_;
  const ViewPublisher evaluations_;
  const ViewPublisher staging_;
  // One at a time changes directories: a name must not be used by two calls at once.
  Mutex mutex_;
  std::atomic<bool> incomplete_ = false;
  int64_t next_staging_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace graft
