#pragma once

// The rows of the store and the access to them inside one transaction. The domain's verbs
// (job_verbs.h, lease_verbs.h, report_verbs.h, catalogue_verbs.h) are written once over this; a
// backend (memory, SQLite) only keeps rows.
//
//   JobStore ◀─ TransactionalStore ─▶ verbs ─▶ Tables (abstract) ◀─ MemoryTables, SqliteTables
//                        └──────────▶ Backend: runs a body in a transaction
//
// Not thread-safe: used by the thread that runs the transaction, until the body returns.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/jobs/job_filter.h"
#include "graft/v1/job.pb.h"
#include "server/store/job_store.h"

namespace graft {

// What people name in the catalogue, and jobs, which their retries use. The numbers are stored.
enum class ResourceKind { kDataset = 1, kModel = 2, kAdapter = 3, kJob = 4 };

// Who names blobs. The numbers are stored. A holder is named by a string: resources by their name,
// jobs by their number, checkpoints by "number/step".
enum class HolderKind { kDataset = 1, kModel = 2, kAdapter = 3, kJob = 4, kCheckpoint = 5 };

struct ResourceRef {
  ResourceKind kind = ResourceKind::kDataset;
  std::string name;
};

struct JobRow {
  int64_t number = 0;  // Order of submission, from 1, never used again.
  v1::Job job;         // Without spec, resolved_spec, attempts and queue_position.
  int64_t version = 0;
  int64_t lease_epoch = 0;
  JobNeeds needs;
  int32_t failures_in_row = 0;  // Without progress.
  // The last of them: where, by what, after what time; and how many in a row were like it.
  std::string failure_place;
  std::string failure_cause;
  absl::Duration failure_ran;
  int32_t failures_alike = 0;
  // The furthest that an evaluation came.
  int64_t evaluated_step = 0;
  int64_t evaluated_rows = 0;
  int64_t saved_step = 0;                    // The last step that ever had a checkpoint.
  std::optional<absl::Duration> done_since;  // Running time.
  bool end_marked = false;                   // StoreOptions::mark_ends.
  std::string method;                        // MethodName.
  std::string base_model;
  // What the job will publish, if anything; nobody else gets the name while it is not done.
  std::optional<ResourceRef> output;
};

struct AttemptRow {
  int64_t job = 0;
  v1::Attempt attempt;
  int64_t lease_epoch = 0;
  WorkerRef worker;
  int64_t last_batch = 0;
  bool end_reported = false;  // By the worker; else its lease ended.
  bool difference_logged = false;
  bool progressed = false;  // Did more than to begin.
};

struct CheckpointRow {
  int64_t step = 0;
  int32_t attempt = 0;
  JobNeeds needs;  // Of whoever goes on from it. JobRow::needs are the newest one's.
  // Since when, in running time, a job that is done has kept it. Unset also of one that is pinned.
  std::optional<absl::Duration> kept_since;
  bool pinned = false;
  std::optional<absl::Time> create_time;  // Unset: of an earlier build.
};

// When a lease ends is not stored: see VolatileTimes.
struct LeaseRow {
  int64_t job = 0;
  int32_t attempt = 0;
  int32_t rank = 0;  // Of the process in a data-parallel job.
  WorkerRef worker;
  int64_t lease_epoch = 0;
  std::string request_id;
};

struct RequestRow {
  std::string verb;
  std::string id;
  std::string body_sha256;
  std::string answer;  // Serialised.
  absl::Time create_time;
  absl::Duration running_time;  // Of the store, at that time.
};

struct ResourceRow {
  ResourceRef ref;
  std::string sha256;
  std::string base_model;  // Of adapters.
  std::string job;         // That made it; else empty.
  std::string message;     // Serialised Dataset, Model or Adapter.
};

struct StudyRow {
  int64_t number = 0;  // Order of creation, from 1, never used again.
  v1::Study study;     // Without trials and ranking.
  int64_t version = 0;
  // Running time at its creation, later by as much as it was paused.
  absl::Duration since;
  std::optional<absl::Duration> paused_since;  // Running time.
};

// The id in its name.
std::string StudyIdOf(const v1::Study& study);

// As one column; any text that is none is read as no needs at all.
std::string ToColumn(const JobNeeds& needs);
JobNeeds NeedsFromColumn(absl::string_view column);

// What the store is, and how long servers have run on it.
struct IdentityRow {
  std::string id;
  absl::Duration running_time;
};

struct UnnamedBlobRow {
  std::string sha256;
  absl::Duration since;  // Running time.
  int64_t stamp = 0;
};

// Place in a list of jobs, exclusive.
struct JobKey {
  int32_t priority = 0;
  int64_t number = 0;
};

// Kinds of logged numbers that a resumed run repeats.
enum class LoggedKind { kMetrics = 1, kEvaluation = 2, kSamples = 3 };

// Finds return nullopt where there is no row. Writes of rows that refer to a missing job fail with
// INTERNAL. Other errors are the backend's (see job_store.h).
class Tables {
 public:
  virtual ~Tables() = default;

  // Jobs. InsertJob sets row.number. `specs` holds only spec and resolved_spec. DeleteJob takes the
  // job's attempts, events, logged numbers, labels and uses with it; not its files. Of many rows
  // some may be left, which nobody sees: PurgeDeleted deletes about `rows` of them. False: none is
  // left.
  virtual absl::Status InsertJob(JobRow& row, const v1::Job& specs,
                                 absl::Span<const ResourceRef> uses) = 0;
  virtual absl::Status UpdateJob(const JobRow& row) = 0;
  // What lists ask for and UpdateJob leaves alone: priority, display_name, labels and deadline of
  // row.job.
  virtual absl::Status UpdateJobKeys(const JobRow& row) = 0;
  virtual absl::Status DeleteJob(int64_t number) = 0;
  virtual absl::StatusOr<bool> PurgeDeleted(int rows) = 0;
  virtual absl::StatusOr<std::optional<JobRow>> FindJob(absl::string_view id) = 0;
  virtual absl::StatusOr<std::optional<JobRow>> FindJob(int64_t number) = 0;
  virtual absl::StatusOr<v1::Job> ReadSpecs(int64_t number) = 0;
  virtual absl::StatusOr<std::vector<JobRow>> ListJobs(const JobFilter& filter, JobOrder order,
                                                       const std::optional<JobKey>& after,
                                                       int limit) = 0;
  // What queued jobs need, each once.
  virtual absl::StatusOr<std::vector<JobNeeds>> ListQueuedNeeds() = 0;
  // Queued jobs in the order in which they run; with `needs` only those that need just that.
  virtual absl::StatusOr<std::vector<JobRow>> ListQueue(const std::optional<JobNeeds>& needs,
                                                        const std::optional<JobKey>& after,
                                                        int limit) = 0;
  // Queued jobs that run before one of this key.
  virtual absl::StatusOr<int64_t> CountQueuedBefore(const JobKey& key) = 0;
  virtual absl::StatusOr<int64_t> CountJobs(v1::JobState state) = 0;
  struct JobDeadline {
    int64_t job = 0;
    absl::Time time;
  };
  // Of jobs that are not done and have one, the earliest first.
  virtual absl::StatusOr<std::vector<JobDeadline>> ListDeadlines(int limit) = 0;
  // Numbers of those that have been done since before this time, that no job which is not done
  // uses, and of which no checkpoint is pinned, the longest first; those whose end is marked only
  // if they are wanted.
  virtual absl::StatusOr<std::vector<int64_t>> ListDoneBefore(absl::Duration running_time,
                                                              bool with_marked_ends, int limit) = 0;
  // Names of jobs whose end is marked, the first that ended first.
  virtual absl::StatusOr<std::vector<std::string>> ListMarkedEnds(int limit) = 0;
  // Name of a job that is not done and uses the resource, or will publish it.
  virtual absl::StatusOr<std::optional<std::string>> FindUser(const ResourceRef& resource) = 0;
  virtual absl::StatusOr<std::optional<std::string>> FindPublisher(const ResourceRef& output) = 0;

  virtual absl::Status AppendEvent(int64_t job, const v1::JobEvent& event) = 0;
  // At most `limit` events, and no more once they take max_bytes.
  virtual absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(int64_t job, int64_t after,
                                                               int limit, int64_t max_bytes) = 0;
  virtual absl::StatusOr<std::optional<v1::Metrics>> FindLogged(int64_t job, LoggedKind kind,
                                                                int64_t step) = 0;
  virtual absl::Status PutLogged(int64_t job, LoggedKind kind, const v1::Metrics& metrics) = 0;
  // Of steps after this one.
  virtual absl::Status ForgetLogged(int64_t job, LoggedKind kind, int64_t step) = 0;

  virtual absl::Status PutAttempt(const AttemptRow& row) = 0;  // Inserts or replaces.
  virtual absl::StatusOr<std::optional<AttemptRow>> FindAttempt(int64_t job, int32_t number) = 0;
  virtual absl::StatusOr<std::vector<AttemptRow>> ListAttempts(int64_t job) = 0;

  virtual absl::Status InsertLease(const LeaseRow& row) = 0;
  virtual absl::Status DeleteLease(int64_t job) = 0;
  virtual absl::StatusOr<std::optional<LeaseRow>> FindLease(int64_t job) = 0;
  virtual absl::StatusOr<std::vector<LeaseRow>> ListLeases() = 0;  // By job.

  // The job's checkpoints, newest first; their files are under HolderKind::kCheckpoint.
  virtual absl::StatusOr<std::vector<CheckpointRow>> ListCheckpoints(int64_t job) = 0;
  // Inserts or replaces.
  virtual absl::Status PutCheckpoint(int64_t job, const CheckpointRow& row) = 0;
  virtual absl::Status DeleteCheckpoint(int64_t job, int64_t step) = 0;
  struct CheckpointKey {
    int64_t job = 0;
    int64_t step = 0;
  };
  // At most `limit` of those kept since before this time, the oldest first.
  virtual absl::StatusOr<std::vector<CheckpointKey>> ListKeptBefore(absl::Duration running_time,
                                                                    int limit) = 0;

  virtual absl::StatusOr<std::optional<RequestRow>> FindRequest(absl::string_view verb,
                                                                absl::string_view id) = 0;
  virtual absl::Status PutRequest(const RequestRow& row) = 0;  // Inserts or replaces.
  // At most `limit`, the oldest. Returns how many.
  virtual absl::StatusOr<int64_t> DeleteRequestsBefore(absl::Duration running_time, int limit) = 0;

  virtual absl::Status InsertResource(const ResourceRow& row) = 0;
  virtual absl::Status DeleteResource(const ResourceRef& ref) = 0;
  virtual absl::StatusOr<std::optional<ResourceRow>> FindResource(const ResourceRef& ref) = 0;
  // By name, after `after`.
  virtual absl::StatusOr<std::vector<ResourceRow>> ListResources(ResourceKind kind,
                                                                 const AdapterFilter& filter,
                                                                 absl::string_view after,
                                                                 int limit) = 0;
  virtual absl::StatusOr<int64_t> CountResources(ResourceKind kind) = 0;

  // Files (blobs with a path) of a holder, in the order given. PutFiles replaces them.
  virtual absl::Status PutFiles(HolderKind kind, absl::string_view holder,
                                absl::Span<const v1::Artifact> files) = 0;
  virtual absl::StatusOr<std::vector<v1::Artifact>> ListFiles(HolderKind kind,
                                                              absl::string_view holder) = 0;
  virtual absl::StatusOr<bool> HasBlob(absl::string_view sha256) = 0;
  // StoreOperations::NamedBlobs.
  virtual absl::StatusOr<std::vector<NamedBlob>> ListNamedBlobs() = 0;
  struct Namer {
    HolderKind kind = HolderKind::kDataset;
    std::string holder;
    std::string path;
  };
  virtual absl::StatusOr<std::vector<Namer>> ListNamers(absl::string_view sha256, int limit) = 0;
  // Blobs of files that PutFiles took away, sorted, until they are forgotten.
  virtual absl::StatusOr<std::vector<std::string>> ListReleasedBlobs() = 0;
  virtual absl::Status ForgetReleasedBlob(absl::string_view sha256) = 0;

  // Studies. InsertStudy sets row.number; DeleteStudy takes trials and events with it.
  virtual absl::Status InsertStudy(StudyRow& row) = 0;
  virtual absl::Status UpdateStudy(const StudyRow& row) = 0;
  virtual absl::Status DeleteStudy(int64_t number) = 0;
  virtual absl::StatusOr<std::optional<StudyRow>> FindStudy(absl::string_view id) = 0;
  // Newest first, of smaller numbers than `before`; `open`: those that are not done. -1: no limit.
  virtual absl::StatusOr<std::vector<StudyRow>> ListStudies(std::optional<int64_t> before,
                                                            bool open, int limit) = 0;
  // `job`: what the trial's job will be inserted as.
  virtual absl::Status InsertTrial(int64_t study, const v1::Trial& trial, const v1::Job& job) = 0;
  virtual absl::Status PutTrial(int64_t study, const v1::Trial& trial) = 0;
  virtual absl::StatusOr<std::vector<v1::Trial>> ListTrials(int64_t study) = 0;  // By number.
  virtual absl::StatusOr<v1::Job> ReadTrialSpecs(int64_t study, int32_t trial) = 0;
  virtual absl::Status AppendStudyEvent(int64_t study, const v1::StudyEvent& event) = 0;
  // As ReadEvents.
  virtual absl::StatusOr<std::vector<v1::StudyEvent>> ReadStudyEvents(int64_t study, int64_t after,
                                                                      int limit,
                                                                      int64_t max_bytes) = 0;

  virtual absl::StatusOr<IdentityRow> ReadIdentity() = 0;
  // Never makes it shorter.
  virtual absl::Status UpdateRunningTime(absl::Duration running_time) = 0;
  virtual absl::Status PutUnnamedBlob(const UnnamedBlobRow& row) = 0;  // Inserts or replaces.
  virtual absl::StatusOr<std::vector<UnnamedBlobRow>> ListUnnamedBlobs() = 0;  // By hash.
  virtual absl::Status DeleteUnnamedBlob(absl::string_view sha256) = 0;

  // Without open_studies.
  virtual absl::StatusOr<StoreCounts> Counts() = 0;
};

// What a write does beside its rows, once these are stored and not before.
struct WriteEffects {
  std::vector<JobChange> changes;  // For listeners.
  // Called before the write is answered and before the next one that may read what it changes (see
  // WritePlace); must be quick. Optional.
  std::function<void()> after_commit;
  // It stops what takes room, by what it read: as WritePlace::kMakesRoom.
  bool makes_room = false;
};

// What a transaction does. A write may be run again after an error that undid it, so it must set
// all its results anew; its effects are empty at each run.
using ReadBody = std::function<absl::Status(Tables&)>;
using WriteBody = std::function<absl::Status(Tables&, WriteEffects& effects)>;

// Writes that share a commit see each other's rows, but not yet what after_commit changes. One that
// decides by the latter goes first. One that makes room, or stops what takes it, finds some on a
// full disk (DiskReserve).
enum class WritePlace { kAnywhere, kFirst, kMakesRoom };

// Runs transactions. Thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;
  // All of the body's writes and effects or, when it returns an error, none; durable when this
  // returns OK. Writes run one at a time. One that changed no row has nothing to lose: it is as
  // good as stored whatever becomes of a commit that it shares.
  virtual absl::Status Write(WritePlace place, const WriteBody& body) = 0;
  // A snapshot; the body must not write.
  virtual absl::Status Read(const ReadBody& body) = 0;
  // See StoreOperations.
  virtual absl::StatusOr<std::vector<std::string>> FindDamage() = 0;
  virtual absl::Status CopyTo(const std::string& path, const ByteProgress& progress) = 0;
};

}  // namespace graft
