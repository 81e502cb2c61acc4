#pragma once

// The part of JobStore that is about studies (see job_store.h for what all its methods have in
// common). What a study decides and what that does to jobs is one transaction.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/study.pb.h"
#include "server/store/page.h"
#include "server/store/request_key.h"

namespace graft {

struct NewStudy {
  // Resolved (ResolveStudy), with its trials, as TrialsOf makes them. An empty output_name becomes
  // the study's id, as does an empty display_name.
  v1::Study study;
  // Of each trial: spec, resolved_spec, warnings. Its output's name is the store's.
  std::vector<v1::Job> jobs;
  RequestKey request;
};

// What there is to do for a study's sake beyond the store.
struct StudyAdvance {
  bool ending = false;  // All its trials have ended: FinishStudy is due.
  bool done = false;    // It ended just now.
  v1::StudyState state = v1::STUDY_STATE_UNSPECIFIED;  // Of one that was not done before.
  bool blocked = false;  // The queue had no room for a trial: to be asked again.
  std::string adapter;   // Published just now; empty: none.
  std::string model;
  // When to ask again though no job changed: running time. InfiniteDuration: then alone.
  absl::Duration next = absl::InfiniteDuration();
};

class StudyStore {
 public:
  virtual ~StudyStore() = default;

  // The study with its first trials begun. ALREADY_EXISTS (REQUEST_ID_REUSED; NAME_TAKEN), and what
  // InsertJob refuses the first trial for. The same request again: the study as it is.
  virtual absl::StatusOr<v1::Study> InsertStudy(const NewStudy& study) = 0;
  // What InsertStudy would refuse it for now.
  virtual absl::Status CheckStudy(const NewStudy& study) = 0;
  // The study that this request made; NOT_FOUND when it has not. ALREADY_EXISTS
  // (REQUEST_ID_REUSED).
  virtual absl::StatusOr<v1::Study> FindInsertedStudy(const RequestKey& request) = 0;
  // Whole: with trials and ranking.
  virtual absl::StatusOr<v1::Study> GetStudy(absl::string_view name) = 0;
  // Newest first, without spec_template, trials and ranking.
  virtual absl::StatusOr<Page<v1::Study>> ListStudies(int page_size,
                                                      absl::string_view page_token) = 0;
  // Names of those that are not done.
  virtual absl::StatusOr<std::vector<std::string>> OpenStudies() = 0;
  virtual absl::StatusOr<std::vector<v1::StudyEvent>> ReadStudyEvents(absl::string_view study,
                                                                      int64_t after, int limit) = 0;
  // Takes in what became of its trials' jobs, and does what follows: lets trials begin and go on,
  // ends others. Nothing changes in one that is done.
  virtual absl::StatusOr<StudyAdvance> AdvanceStudy(absl::string_view name) = 0;
  // AdvanceStudy of one that is `ending`: it is done, and its best published, with `files` (whose
  // blobs are there) beside the adapter's. Of any other study nothing changes.
  virtual absl::StatusOr<StudyAdvance> FinishStudy(absl::string_view name,
                                                   const std::vector<v1::Artifact>& files) = 0;
  // RUNNING becomes PAUSED, as do its jobs. WRONG_STATE.
  virtual absl::StatusOr<v1::Study> PauseStudy(absl::string_view name,
                                               const RequestKey& request) = 0;
  // PAUSED becomes RUNNING; jobs that wait for no decision go on. WRONG_STATE, QUEUE_FULL.
  virtual absl::StatusOr<v1::Study> ResumeStudy(absl::string_view name,
                                                const RequestKey& request) = 0;
  // One that is not done becomes CANCELLED, its jobs as by CancelJob.
  virtual absl::StatusOr<v1::Study> CancelStudy(absl::string_view name,
                                                const RequestKey& request) = 0;
  // Forgets a study that is done; its trials' jobs are jobs like others from then on.
  // FAILED_PRECONDITION (NOT_DONE).
  virtual absl::Status DeleteStudy(absl::string_view name) = 0;
};

}  // namespace graft
