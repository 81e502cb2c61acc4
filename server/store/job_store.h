#pragma once

// JobStore: everything the server must not forget. Each method is one transaction, named for what
// it does to the domain; when a mutation answers, it is durable. There are no half changes: a
// method that returns an error has changed nothing (but UNAVAILABLE with reason OUTCOME_UNKNOWN,
// which is what it says; the same request_id or batch number again resolves it).
//
// Not here: ranking and retry timing (server/scheduler), bytes of blobs (common/blobs), who may
// call.
//
// Thread rule: all methods may be called from any thread, and block on the disk for as long as a
// commit takes; concurrent writers share one commit. Listeners are called after the commit on
// a thread of the store that does nothing else, one change after the other, under no lock; they may
// call only read methods. What waits for them is all listeners behind them and, once
// kMaxUndelivered changes do (job_listeners.h), the next writes: none is to be made under a lock
// that a listener takes.
//
// Common status codes, beside those of each method: UNAVAILABLE store closed or its file lost;
// RESOURCE_EXHAUSTED (DISK_FULL) nothing was stored, reads go on (and, on a reserve of some MiB,
// cancelling and deleting); DATA_LOSS a stored row does not
// parse. NOT_FOUND names the resource.
//
// Job names are "jobs/{id}" everywhere. Everything belongs to the owner "default".

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/jobs/job_filter.h"
#include "graft/v1/adapter.pb.h"
#include "graft/v1/dataset.pb.h"
#include "graft/v1/job.pb.h"
#include "graft/v1/model.pb.h"
#include "server/store/job_change.h"
#include "server/store/job_purge.h"
#include "server/store/lease_types.h"
#include "server/store/page.h"
#include "server/store/request_key.h"
#include "server/store/store_operations.h"
#include "server/store/study_store.h"

namespace graft {

// What a store is told at its creation.
struct StoreOptions {
  Clock* clock = &Clock::Real();
  // Makes ids of jobs; for tests and simulations. Default: NewJobId.
  std::function<std::string()> new_job_id;
  absl::Duration lease_duration = absl::Seconds(60);
  // Jobs that are QUEUED at the most; one more is RESOURCE_EXHAUSTED (QUEUE_FULL, with RetryInfo).
  int64_t max_queued_jobs = 100'000;
  // Infrastructure failures in a row that fail a job: at one place by one cause, and in all.
  // Progress begins both counts anew: a newer checkpoint, or an evaluation that came further than
  // any before.
  int max_failures_alike = 5;
  int max_failures_without_progress = 20;
  // Wait before the n-th attempt in a row: first * 2^(n-1), at most max.
  absl::Duration first_retry_delay = absl::Seconds(1);
  absl::Duration max_retry_delay = absl::Seconds(60);
  // A job that a worker handed back is offered to nobody for so long.
  absl::Duration pause_after_return = absl::Seconds(10);
  // How long an answer is kept for its request_id. At least 24 h in production.
  absl::Duration request_id_lifetime = absl::Hours(24);
  // How long a job that is done keeps its last checkpoint, to be gone on from.
  absl::Duration checkpoint_lifetime = absl::Hours(24 * 7);
  // How long a job that is done is kept.
  absl::Duration job_lifetime = absl::InfiniteDuration();
  // Whether the end of each job is marked, until ForgetEnd.
  bool mark_ends = false;
  // Called after each commit with the time it took and how many changes it made durable. Under no
  // lock, on the thread that writes: must be quick. Optional.
  std::function<void(absl::Duration commit_time, int changes)> on_commit;
};

struct JobQuery {
  JobFilter filter;
  JobOrder order = JobOrder::kNewestFirst;
  int page_size = 0;       // 0: kDefaultPageSize; more than kMaxPageSize counts as that.
  std::string page_token;  // Of the page before; empty: the first.
};

// Numbers of the whole store, for telemetry: always those of the rows.
struct StoreCounts {
  struct Jobs {
    v1::JobState state;
    std::string method;  // MethodName.
    int64_t count;
  };
  std::vector<Jobs> jobs;
  std::map<v1::StudyState, int64_t> open_studies;  // Those that are not done.
  int64_t events = 0;
  int64_t datasets = 0, models = 0, adapters = 0;
  int64_t marked_ends = 0;
  // Since when the job that has been in the queue for longest, and the one that runs next, have
  // been there (Job.queue_time); InfiniteFuture when no job is queued.
  absl::Time oldest_queued = absl::InfiniteFuture();
  absl::Time head_queued = absl::InfiniteFuture();
};

struct NewJob {
  // display_name, labels, priority, study, deadline, spec, resolved_spec and warnings are read. An
  // empty output_name in resolved_spec becomes the job's id; the warnings become the job's first
  // events.
  v1::Job job;
  RequestKey request;
};

struct CheckpointFiles {
  v1::Job job;  // Whose it is, with its specs.
  int64_t step = 0;
  std::vector<v1::Artifact> files;
};

// What a user changes of a job. What is not set stays.
struct JobUpdate {
  std::optional<std::string> display_name;
  std::optional<int32_t> priority;
  std::optional<absl::Time> deadline;  // InfiniteFuture: none any more.
  std::optional<bool> allow_migration;
  bool clear_labels = false;                                 // Before those below.
  std::map<std::string, std::optional<std::string>> labels;  // nullopt: none of this key.
  std::string etag;                                          // Which the job must have; empty: any.
};

// Ids of stores that are kept in memory begin so; others do not.
inline constexpr char kMemoryStorePrefix[] = "memory-";

// A blob that was seen and that nothing names.
struct UnnamedBlob {
  std::string sha256;
  int64_t stamp = 0;   // What the collector told it by: another one means that it was touched.
  absl::Duration age;  // Since it was noted, in running time.
};

class JobStore : public StoreOperations, public StudyStore {
 public:
  // ---- Jobs, for users -------------------------------------------------------------------------

  // Queues a job, with its first event. ALREADY_EXISTS (REQUEST_ID_REUSED: with another body;
  // NAME_TAKEN: the output name belongs to an adapter, a model or a job that is not done),
  // NOT_FOUND a data set, model or adapter of the spec has gone, FAILED_PRECONDITION
  // (VERSION_CHANGED) it is there with another hash than the resolved spec's, RESOURCE_EXHAUSTED
  // (QUEUE_FULL).
  virtual absl::StatusOr<v1::Job> InsertJob(const NewJob& job) = 0;
  // What InsertJob would refuse the job for now.
  virtual absl::Status CheckJob(const NewJob& job) = 0;
  // What InsertJob answered to this request; NOT_FOUND when it has not. ALREADY_EXISTS
  // (REQUEST_ID_REUSED).
  virtual absl::StatusOr<v1::Job> FindInserted(const RequestKey& request) = 0;
  // The whole job, with attempts and, only here, its queue position (it takes counting) and how
  // long its worker has been silent: the time since it took the job or renewed its lease, or since
  // the store was opened.
  virtual absl::StatusOr<JobWithNeeds> GetJobWithNeeds(absl::string_view name) = 0;
  absl::StatusOr<v1::Job> GetJob(absl::string_view name) {
    absl::StatusOr<JobWithNeeds> found = GetJobWithNeeds(name);
    if (!found.ok()) return found.status();
    return std::move(found->job);
  }
  // Jobs without specs and attempts; fewer than page_size when they would take more than
  // kMaxPageBytes (other lists too). INVALID_ARGUMENT for a page token that is not of this query.
  virtual absl::StatusOr<Page<v1::Job>> ListJobs(const JobQuery& query) = 0;
  // QUEUED and PAUSED become CANCELLED, RUNNING and PAUSING become CANCELLING; any other state
  // stays. Returns the job.
  virtual absl::StatusOr<v1::Job> CancelJob(absl::string_view name, const RequestKey& request) = 0;
  // The same, but the worker saves first: cancel_saves, until CancelJob takes it back.
  virtual absl::StatusOr<v1::Job> SaveAndCancelJob(absl::string_view name,
                                                   const RequestKey& request) = 0;
  // What the job could go on from, newest first.
  virtual absl::StatusOr<std::vector<v1::JobCheckpoint>> ListCheckpoints(
      absl::string_view name) = 0;
  // One of them, by its name. INVALID_ARGUMENT, NOT_FOUND.
  virtual absl::StatusOr<CheckpointFiles> ReadCheckpoint(absl::string_view name) = 0;
  // A pinned one stays until it is let go or its job is deleted. FAILED_PRECONDITION (too many).
  virtual absl::StatusOr<v1::JobCheckpoint> PinCheckpoint(absl::string_view name, bool pinned) = 0;
  // The verbs below return the job. FAILED_PRECONDITION (WRONG_STATE) in another state than those
  // that are named; the message says what would help.
  // QUEUED becomes PAUSED, RUNNING becomes PAUSING.
  virtual absl::StatusOr<v1::Job> PauseJob(absl::string_view name, const RequestKey& request) = 0;
  // PAUSED becomes QUEUED; its failures are forgotten. RESOURCE_EXHAUSTED (QUEUE_FULL).
  virtual absl::StatusOr<v1::Job> ResumeJob(absl::string_view name, const RequestKey& request) = 0;
  // Of a RUNNING training: sets requested_checkpoint_step until such a one is committed.
  virtual absl::StatusOr<v1::Job> CheckpointJob(absl::string_view name,
                                                const RequestKey& request) = 0;
  // Queues a new job like one that is FAILED or CANCELLED, with its newest checkpoint unless
  // from_scratch. What InsertJob refuses it for.
  virtual absl::StatusOr<v1::Job> RetryJob(absl::string_view name, bool from_scratch,
                                           const RequestKey& request) = 0;
  // ABORTED (VERSION_CHANGED) with another etag; WRONG_STATE: the priority of a job that is done;
  // INVALID_ARGUMENT: too many labels.
  virtual absl::StatusOr<v1::Job> UpdateJob(absl::string_view name, const JobUpdate& update,
                                            const RequestKey& request) = 0;
  // Forgets a job that is done: its events, attempts, artifacts; and the adapter or model that it
  // made, if told so. FAILED_PRECONDITION (NOT_DONE; IN_USE: the adapter is used by another job).
  virtual absl::StatusOr<DeletedJob> DeleteJob(absl::string_view name, bool delete_adapter,
                                               const RequestKey& request) = 0;
  // DeleteJob of every job that the filter finds and that is done, newest first, in many small
  // transactions; one that is refused is left. Broken off, it has deleted what it told of, and the
  // same request goes on with the rest and counts them all. For one caller at a time.
  virtual absl::StatusOr<v1::PurgeJobsResponse> PurgeJobs(const JobPurge& purge,
                                                          const PurgeListener& on_deleted) = 0;
  virtual absl::StatusOr<std::vector<v1::Artifact>> ListArtifacts(absl::string_view job) = 0;

  // ---- Events ----------------------------------------------------------------------------------

  // Events with a sequence greater than `after`, in order, at most `limit` of them and about 1 MiB.
  virtual absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(absl::string_view job, int64_t after,
                                                               int limit) = 0;
  // Blocks until the job has an event after `after`, is done, or is deleted; or until `timeout` has
  // passed. Returns the job's last sequence. NOT_FOUND.
  virtual absl::StatusOr<int64_t> WaitForEvents(absl::string_view job, int64_t after,
                                                absl::Duration timeout) = 0;
  // Calls the listener after every commit that changed `job`, or any job if it is empty; once after
  // several that only added events, if it does not keep up. A change committed before Subscribe
  // returns may be told or not: read the state after subscribing.
  virtual std::unique_ptr<Subscription> Subscribe(absl::string_view job, JobListener listener) = 0;

  // ---- Claims and leases, for the scheduler and workers ----------------------------------------

  // Queued jobs whose back-off has passed, by priority (greater first), then in order of
  // submission; those whose needs `filter` takes. Null: all.
  virtual absl::StatusOr<std::vector<QueuedJob>> QueuedJobs(int limit,
                                                            const NeedsFilter& filter) = 0;
  absl::StatusOr<std::vector<QueuedJob>> QueuedJobs(int limit) {
    return QueuedJobs(limit, nullptr);
  }
  // All queued jobs in the same order, those in a back-off, too; from the queue's head or after a
  // place, at most `limit`.
  virtual absl::StatusOr<QueuePart> ReadQueue(const std::optional<QueuePlace>& after,
                                              int limit) = 0;
  // Boottime at which the next queued job's back-off passes; InfiniteDuration when none waits for
  // it.
  virtual absl::Duration NextRetry() = 0;
  // QUEUED becomes RUNNING under a new lease. ABORTED (VERSION_CHANGED) when the job is no longer
  // what the snapshot said: take the next.
  virtual absl::StatusOr<Claim> ClaimJob(const ClaimRequest& request) = 0;
  // The claim that this request_id of the worker's got, while its lease lasts. NOT_FOUND.
  virtual absl::StatusOr<Claim> FindClaim(const WorkerRef& worker,
                                          absl::string_view request_id) = 0;
  // A full lease duration from now for each that is still held.
  virtual absl::StatusOr<std::vector<LeaseRenewal>> RenewLeases(
      const WorkerRef& worker,
      absl::Span<const std::pair<std::string, int64_t>> job_and_lease_epoch) = 0;
  // Who holds which job now, by job.
  virtual absl::StatusOr<std::vector<LeaseHolder>> ListLeases() = 0;
  // Jobs that workers hold, by number.
  virtual absl::StatusOr<std::vector<HeldJobView>> HeldJobs() = 0;
  // The job makes way for `other`, which is QUEUED: once its state is saved it is QUEUED again, and
  // no failure is counted. WRONG_STATE: either is by now another than was seen.
  virtual absl::Status PreemptJob(const HeldJobView& job, absl::string_view other) = 0;
  // Ends every lease whose time has passed: RUNNING jobs are queued again (or fail, after too many
  // failures), PAUSING ones are PAUSED, CANCELLING ones CANCELLED. Returns the jobs. After a
  // restart of the store every lease has a full term again.
  virtual absl::StatusOr<std::vector<std::string>> ExpireLeases() = 0;
  // Fails jobs whose deadline has come, by the date, in whatever state they are (some of them,
  // where there are many). Returns them.
  virtual absl::StatusOr<std::vector<std::string>> EndOverdue() = 0;
  // The next deadline of a job that is not done; InfiniteFuture when there is none.
  virtual absl::StatusOr<absl::Time> NextDeadline() = 0;
  // Boottime at which the next lease ends unless renewed; InfiniteDuration when there is none. Now,
  // when the first ExpireLeases after a restart has yet to give one its term.
  virtual absl::StatusOr<absl::Duration> NextExpiry() = 0;
  // The worker has started anew: leases of its other instances end at once, as if expired.
  virtual absl::StatusOr<std::vector<std::string>> ReleaseOtherInstances(
      const WorkerRef& worker) = 0;

  // ---- Reports of workers ----------------------------------------------------------------------

  // Appends a batch and returns the number of the last batch stored. One that is stored already is
  // dropped; one that would leave a gap is not stored. Metrics and evaluations of a step that the
  // log already has (from an earlier attempt) are compared and dropped; the first difference of an
  // attempt is logged as a warning METRICS_DIFFER, but for steps after the one to which a
  // divergence took the run back. STALE_LEASE; INVALID_ARGUMENT when the events hold a state change
  // or break a limit.
  virtual absl::StatusOr<int64_t> AppendEvents(const LeaseRef& lease, const EventBatch& batch) = 0;
  // Makes a checkpoint the one to resume from, with its event. The newest keep_last (of the
  // resolved spec) stay. Committing the same again changes nothing. STALE_LEASE.
  virtual absl::Status CommitCheckpoint(const LeaseRef& lease, const NewCheckpoint& checkpoint) = 0;
  // Ends the attempt and returns the job's state: publishes and SUCCEEDED; FAILED; CANCELLED;
  // PAUSED, as does whatever does not end a job that is PAUSING; or,
  // for an INFRASTRUCTURE failure (and a worker that gives an uncancelled job back), QUEUED again
  // after a back-off, FAILED after too many (StoreOptions); returned, QUEUED again after a pause,
  // which counts nothing (unless by_server). The same call again returns the same. STALE_LEASE;
  // FAILED_PRECONDITION (EVENTS_MISSING) when last_batch is not stored yet.
  // An attempt that ended since its checkpoint is corrupt (CheckpointCorrupt) drops that one, with
  // a warning event, and is no failure: QUEUED at once, to go on from the checkpoint before.
  virtual absl::StatusOr<v1::JobState> FinishAttempt(const LeaseRef& lease, int64_t last_batch,
                                                     const AttemptOutcome& outcome) = 0;

  // Some of the failures of a job that is not done, counted since its last progress, were not its
  // own: so many fewer. NOT_FOUND.
  virtual absl::Status ForgiveFailures(absl::string_view job, int failures) = 0;

  // ---- Catalogue: data sets, models, adapters ---------------------------------------------------

  // Insert: ALREADY_EXISTS (NAME_TAKEN) when the name holds other content (or the same as another
  // format, or for another base model); the same again returns what is stored. create_time is set
  // by the store. Delete: FAILED_PRECONDITION (IN_USE) while a job that is not done, or (models) an
  // adapter, uses it.
  virtual absl::StatusOr<v1::Dataset> InsertDataset(const v1::Dataset& dataset) = 0;
  virtual absl::StatusOr<v1::Dataset> GetDataset(absl::string_view name) = 0;
  virtual absl::StatusOr<Page<v1::Dataset>> ListDatasets(int page_size,
                                                         absl::string_view page_token) = 0;
  virtual absl::Status DeleteDataset(absl::string_view name) = 0;

  virtual absl::StatusOr<v1::Model> InsertModel(const v1::Model& model) = 0;
  // Delete and Insert in one. FAILED_PRECONDITION (VERSION_CHANGED) unless the model of this name
  // has the content `sha256`.
  virtual absl::StatusOr<v1::Model> ReplaceModel(absl::string_view sha256,
                                                 const v1::Model& model) = 0;
  virtual absl::StatusOr<v1::Model> GetModel(absl::string_view name) = 0;
  virtual absl::StatusOr<Page<v1::Model>> ListModels(int page_size,
                                                     absl::string_view page_token) = 0;
  virtual absl::Status DeleteModel(absl::string_view name) = 0;

  virtual absl::StatusOr<v1::Adapter> InsertAdapter(const v1::Adapter& adapter) = 0;
  virtual absl::StatusOr<v1::Adapter> GetAdapter(absl::string_view name) = 0;
  virtual absl::StatusOr<Page<v1::Adapter>> ListAdapters(const AdapterFilter& filter, int page_size,
                                                         absl::string_view page_token) = 0;
  virtual absl::Status DeleteAdapter(absl::string_view name) = 0;

  // ---- Housekeeping ----------------------------------------------------------------------------

  // Whether a data set, model, adapter, artifact or checkpoint names the blob.
  virtual absl::StatusOr<bool> IsBlobReferenced(absl::string_view sha256) = 0;
  // Blobs that something named until it was deleted or replaced (something else may name them
  // still), sorted: until ForgetReleasedBlobs says that they have been seen to.
  virtual absl::StatusOr<std::vector<std::string>> ReleasedBlobs() = 0;
  virtual absl::Status ForgetReleasedBlobs(absl::Span<const std::string> sha256) = 0;
  // Deletes a bounded part of the rows that deleted jobs left (which nobody sees); DeleteJob does
  // so once, which is all of them for a small job. False: none is left.
  virtual absl::StatusOr<bool> PurgeDeleted() = 0;
  // Forgets answers older (in running time) than request_id_lifetime. Returns how many.
  virtual absl::StatusOr<int64_t> PruneRequestIds() = 0;
  // Drops checkpoints that jobs which are done have kept for longer than checkpoint_lifetime.
  // Returns how many.
  virtual absl::StatusOr<int64_t> PruneCheckpoints() = 0;
  // Deletes a few of the jobs that have been done for longer than job_lifetime, unless a retry of
  // them is not done or (while ends are marked) their end is; what they published stays. Returns
  // them; none: none is left.
  virtual absl::StatusOr<std::vector<DeletedJob>> PruneJobs() = 0;
  // Jobs whose end is marked, in the order in which they ended. A deleted one has no mark.
  virtual absl::StatusOr<std::vector<std::string>> MarkedEnds(int limit) = 0;
  virtual absl::Status ForgetEnd(absl::string_view job) = 0;
  virtual absl::StatusOr<StoreCounts> Counts() = 0;

  // Which store this is: made with it, never changed; artifacts belong to a store by it.
  virtual const std::string& Id() const = 0;
  // How long servers have run on the store: boottime, kept over restarts as far as it was saved. No
  // clock that people set moves it. Ages count on it.
  virtual absl::Duration RunningTime() const = 0;
  // Stores nothing: comes back when whoever writes has come to it.
  virtual absl::Status Ping() = 0;
  // To be called once a minute and at the end.
  virtual absl::Status SaveRunningTime() = 0;
  // Blobs that were noted as unnamed, by hash, until they are forgotten. Noting one again replaces
  // what was known of it.
  virtual absl::StatusOr<std::vector<UnnamedBlob>> UnnamedBlobs() = 0;
  virtual absl::Status NoteUnnamedBlobs(absl::Span<const UnnamedBlob> blobs) = 0;
  virtual absl::Status ForgetUnnamedBlobs(absl::Span<const std::string> sha256) = 0;
};

// Opens the store that `uri` names: "memory:" (nothing is kept) or "sqlite:PATH" (made if missing,
// its directory too). INVALID_ARGUMENT unknown scheme, or PATH on a network file system;
// FAILED_PRECONDITION (STORE_OWNED) another process has it open; (STORE_NEWER) it was written by a
// newer graft; DATA_LOSS it is no graft store, or broken.
absl::StatusOr<std::unique_ptr<JobStore>> OpenJobStore(absl::string_view uri, StoreOptions options);

}  // namespace graft
