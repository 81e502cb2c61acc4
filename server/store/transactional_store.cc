#include "server/store/transactional_store.h"

#include <utility>

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/names.h"
#include "server/store/blob_verbs.h"
#include "server/store/catalogue_verbs.h"
#include "server/store/checkpoint_verbs.h"
#include "server/store/deletion_verbs.h"
#include "server/store/job_verbs.h"
#include "server/store/lease_verbs.h"
#include "server/store/life_verbs.h"
#include "server/store/report_verbs.h"
#include "server/store/study_verbs.h"
#include "server/store/verb_runner.h"

namespace graft {
namespace {

constexpr int kRowsPurgedAtOnce = 2000;
constexpr int kAnswersPrunedAtOnce = 500;  // Each is on a page of its own.
constexpr int kCheckpointsPrunedAtOnce = 100;
constexpr int kJobsDeletedAtOnce = 20;    // Each some dozen statements.
constexpr int kJobsLookedAtAtOnce = 500;  // By a purge that deletes nothing.

class TransactionalStore : public JobStore, private VerbRunner {
 public:
  TransactionalStore(StoreOptions options, std::shared_ptr<JobListeners> listeners,
                     std::unique_ptr<Backend> backend, IdentityRow identity)
      : VerbRunner(std::move(options), std::move(backend), std::move(identity)),
        listeners_(std::move(listeners)) {}
  // Listeners read.
  ~TransactionalStore() override { listeners_->Stop(); }

  absl::StatusOr<v1::Job> InsertJob(const NewJob& job) override {
    return Write<v1::Job>([&](VerbContext& context) { return DoInsertJob(context, job); });
  }
  absl::Status CheckJob(const NewJob& job) override {
    return ReadStatus([&](VerbContext& context) { return DoCheckJob(context, job); });
  }
  absl::StatusOr<v1::Job> FindInserted(const RequestKey& request) override {
    return Read<v1::Job>([&](VerbContext& context) { return DoFindInserted(context, request); });
  }
  absl::StatusOr<JobWithNeeds> GetJobWithNeeds(absl::string_view name) override {
    return Read<JobWithNeeds>([&](VerbContext& context) { return DoGetJob(context, name); });
  }
  absl::StatusOr<Page<v1::Job>> ListJobs(const JobQuery& query) override {
    return Read<Page<v1::Job>>([&](VerbContext& context) { return DoListJobs(context, query); });
  }
  absl::StatusOr<v1::Job> CancelJob(absl::string_view name, const RequestKey& request) override {
    return Write<v1::Job>([&](VerbContext& context) { return DoCancelJob(context, name, request); },
                          WritePlace::kMakesRoom);
  }
  absl::StatusOr<v1::Job> SaveAndCancelJob(absl::string_view name,
                                           const RequestKey& request) override {
    return Write<v1::Job>(
        [&](VerbContext& context) { return DoSaveAndCancelJob(context, name, request); },
        WritePlace::kMakesRoom);
  }
  absl::StatusOr<DeletedJob> DeleteJob(absl::string_view name, bool delete_adapter,
                                       const RequestKey& request) override {
    absl::StatusOr<DeletedJob> deleted = Write<DeletedJob>(
        [&](VerbContext& context) { return DoDeleteJob(context, name, delete_adapter, request); },
        WritePlace::kMakesRoom);
    if (deleted.ok()) (void)PurgeDeleted();  // What fails is left for the next time.
    return deleted;
  }
  absl::StatusOr<v1::PurgeJobsResponse> PurgeJobs(const JobPurge& purge,
                                                  const PurgeListener& on_deleted) override;
  absl::StatusOr<v1::Job> PauseJob(absl::string_view name, const RequestKey& request) override {
    return Write<v1::Job>([&](VerbContext& context) { return DoPauseJob(context, name, request); });
  }
  absl::StatusOr<v1::Job> ResumeJob(absl::string_view name, const RequestKey& request) override {
    return Write<v1::Job>(
        [&](VerbContext& context) { return DoResumeJob(context, name, request); });
  }
  absl::StatusOr<std::vector<v1::JobCheckpoint>> ListCheckpoints(absl::string_view name) override {
    return Read<std::vector<v1::JobCheckpoint>>(
        [&](VerbContext& context) { return DoListCheckpoints(context, name); });
  }
  absl::StatusOr<CheckpointFiles> ReadCheckpoint(absl::string_view name) override {
    return Read<CheckpointFiles>(
        [&](VerbContext& context) { return DoReadCheckpoint(context, name); });
  }
  absl::StatusOr<v1::JobCheckpoint> PinCheckpoint(absl::string_view name, bool pinned) override {
    return Write<v1::JobCheckpoint>(
        [&](VerbContext& context) { return DoPinCheckpoint(context, name, pinned); });
  }
  absl::StatusOr<v1::Job> CheckpointJob(absl::string_view name,
                                        const RequestKey& request) override {
    return Write<v1::Job>(
        [&](VerbContext& context) { return DoCheckpointJob(context, name, request); });
  }
  absl::StatusOr<v1::Job> RetryJob(absl::string_view name, bool from_scratch,
                                   const RequestKey& request) override {
    return Write<v1::Job>(
        [&](VerbContext& context) { return DoRetryJob(context, name, from_scratch, request); });
  }
  absl::StatusOr<v1::Job> UpdateJob(absl::string_view name, const JobUpdate& update,
                                    const RequestKey& request) override {
    return Write<v1::Job>(
        [&](VerbContext& context) { return DoUpdateJob(context, name, update, request); });
  }
  absl::StatusOr<std::vector<v1::Artifact>> ListArtifacts(absl::string_view job) override {
    return Read<std::vector<v1::Artifact>>(
        [&](VerbContext& context) { return DoListArtifacts(context, job); });
  }

  absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(absl::string_view job, int64_t after,
                                                       int limit) override {
    return Read<std::vector<v1::JobEvent>>(
        [&](VerbContext& context) { return DoReadEvents(context, job, after, limit); });
  }
  absl::StatusOr<int64_t> WaitForEvents(absl::string_view job, int64_t after,
                                        absl::Duration timeout) override;
  std::unique_ptr<Subscription> Subscribe(absl::string_view job, JobListener listener) override {
    return listeners_->Subscribe(job, std::move(listener));
  }

  absl::StatusOr<std::vector<QueuedJob>> QueuedJobs(int limit, const NeedsFilter& filter) override {
    return Read<std::vector<QueuedJob>>(
        [&](VerbContext& context) { return DoQueuedJobs(context, limit, filter); });
  }
  absl::StatusOr<QueuePart> ReadQueue(const std::optional<QueuePlace>& after, int limit) override {
    return Read<QueuePart>(
        [&](VerbContext& context) { return DoReadQueue(context, after, limit); });
  }
  absl::Duration NextRetry() override { return times().NextRetry(options().clock->Boottime()); }
  absl::StatusOr<Claim> ClaimJob(const ClaimRequest& request) override {
    return Write<Claim>([&](VerbContext& context) { return DoClaimJob(context, request); });
  }
  absl::StatusOr<Claim> FindClaim(const WorkerRef& worker, absl::string_view request_id) override {
    return Write<Claim>(
        [&](VerbContext& context) { return DoFindClaim(context, worker, request_id); });
  }
  absl::StatusOr<std::vector<LeaseRenewal>> RenewLeases(
      const WorkerRef& worker,
      absl::Span<const std::pair<std::string, int64_t>> job_and_lease_epoch) override {
    return Write<std::vector<LeaseRenewal>>(
        [&](VerbContext& context) { return DoRenewLeases(context, worker, job_and_lease_epoch); });
  }
  absl::StatusOr<std::vector<LeaseHolder>> ListLeases() override {
    return Read<std::vector<LeaseHolder>>(
        [](VerbContext& context) { return DoListLeases(context); });
  }
  absl::StatusOr<std::vector<std::string>> ExpireLeases() override {
    // It is asked after every change, and would part the writes of a group: see WritePlace.
    ASSIGN_OR_RETURN(const absl::Duration next, NextExpiry());
    if (next > options().clock->Boottime()) return std::vector<std::string>();
    return Write<std::vector<std::string>>(
        [](VerbContext& context) { return DoExpireLeases(context); }, WritePlace::kFirst);
  }
  absl::StatusOr<std::vector<HeldJobView>> HeldJobs() override {
    return Read<std::vector<HeldJobView>>([](VerbContext& context) { return DoHeldJobs(context); });
  }
  absl::Status PreemptJob(const HeldJobView& job, absl::string_view other) override {
    return WriteStatus([&](VerbContext& context) { return DoPreemptJob(context, job, other); });
  }
  absl::StatusOr<std::vector<std::string>> EndOverdue() override {
    ASSIGN_OR_RETURN(const absl::Time next, NextDeadline());
    if (next > options().clock->Now()) return std::vector<std::string>();
    return Write<std::vector<std::string>>(
        [](VerbContext& context) { return DoEndOverdue(context); }, WritePlace::kMakesRoom);
  }
  absl::StatusOr<absl::Time> NextDeadline() override {
    return Read<absl::Time>([](VerbContext& context) { return DoNextDeadline(context); });
  }
  absl::StatusOr<absl::Duration> NextExpiry() override {
    return Read<absl::Duration>([](VerbContext& context) { return DoNextExpiry(context); });
  }
  absl::StatusOr<std::vector<std::string>> ReleaseOtherInstances(const WorkerRef& worker) override {
    return Write<std::vector<std::string>>(
        [&](VerbContext& context) { return DoReleaseOtherInstances(context, worker); });
  }

  absl::StatusOr<int64_t> AppendEvents(const LeaseRef& lease, const EventBatch& batch) override {
    return Write<int64_t>(
        [&](VerbContext& context) { return DoAppendEvents(context, lease, batch); });
  }
  absl::Status CommitCheckpoint(const LeaseRef& lease, const NewCheckpoint& checkpoint) override {
    return WriteStatus(
        [&](VerbContext& context) { return DoCommitCheckpoint(context, lease, checkpoint); });
  }
  absl::Status ForgiveFailures(absl::string_view job, int failures) override {
    return WriteStatus(
        [&](VerbContext& context) { return DoForgiveFailures(context, job, failures); });
  }
  absl::StatusOr<v1::JobState> FinishAttempt(const LeaseRef& lease, int64_t last_batch,
                                             const AttemptOutcome& outcome) override {
    return Write<v1::JobState>(
        [&](VerbContext& context) { return DoFinishAttempt(context, lease, last_batch, outcome); });
  }

  absl::StatusOr<v1::Dataset> InsertDataset(const v1::Dataset& dataset) override {
    return Write<v1::Dataset>(
        [&](VerbContext& context) { return DoInsertDataset(context, dataset); });
  }
  absl::StatusOr<v1::Dataset> GetDataset(absl::string_view name) override {
    return Get<v1::Dataset>(ResourceKind::kDataset, name);
  }
  absl::StatusOr<Page<v1::Dataset>> ListDatasets(int page_size,
                                                 absl::string_view page_token) override {
    return List<v1::Dataset>(ResourceKind::kDataset, {}, page_size, page_token);
  }
  absl::Status DeleteDataset(absl::string_view name) override {
    return Delete(ResourceKind::kDataset, name);
  }

  absl::StatusOr<v1::Model> InsertModel(const v1::Model& model) override {
    return Write<v1::Model>([&](VerbContext& context) { return DoInsertModel(context, model); });
  }
  absl::StatusOr<v1::Model> ReplaceModel(absl::string_view sha256,
                                         const v1::Model& model) override {
    return Write<v1::Model>(
        [&](VerbContext& context) { return DoReplaceModel(context, sha256, model); });
  }
  absl::StatusOr<v1::Model> GetModel(absl::string_view name) override {
    return Get<v1::Model>(ResourceKind::kModel, name);
  }
  absl::StatusOr<Page<v1::Model>> ListModels(int page_size, absl::string_view page_token) override {
    return List<v1::Model>(ResourceKind::kModel, {}, page_size, page_token);
  }
  absl::Status DeleteModel(absl::string_view name) override {
    return Delete(ResourceKind::kModel, name);
  }

  absl::StatusOr<v1::Adapter> InsertAdapter(const v1::Adapter& adapter) override {
    return Write<v1::Adapter>(
        [&](VerbContext& context) { return DoInsertAdapter(context, adapter); });
  }
  absl::StatusOr<v1::Adapter> GetAdapter(absl::string_view name) override {
    return Get<v1::Adapter>(ResourceKind::kAdapter, name);
  }
  absl::StatusOr<Page<v1::Adapter>> ListAdapters(const AdapterFilter& filter, int page_size,
                                                 absl::string_view page_token) override {
    return List<v1::Adapter>(ResourceKind::kAdapter, filter, page_size, page_token);
  }
  absl::Status DeleteAdapter(absl::string_view name) override {
    return Delete(ResourceKind::kAdapter, name);
  }

  absl::StatusOr<v1::Study> InsertStudy(const NewStudy& study) override {
    return Write<v1::Study>([&](VerbContext& context) { return DoInsertStudy(context, study); });
  }
  absl::Status CheckStudy(const NewStudy& study) override {
    return ReadStatus([&](VerbContext& context) { return DoCheckStudy(context, study); });
  }
  absl::StatusOr<v1::Study> FindInsertedStudy(const RequestKey& request) override {
    return Read<v1::Study>(
        [&](VerbContext& context) { return DoFindInsertedStudy(context, request); });
  }
  absl::StatusOr<v1::Study> GetStudy(absl::string_view name) override {
    return Read<v1::Study>([&](VerbContext& context) { return DoGetStudy(context, name); });
  }
  absl::StatusOr<Page<v1::Study>> ListStudies(int page_size,
                                              absl::string_view page_token) override {
    return Read<Page<v1::Study>>(
        [&](VerbContext& context) { return DoListStudies(context, page_size, page_token); });
  }
  absl::StatusOr<std::vector<std::string>> OpenStudies() override {
    return Read<std::vector<std::string>>(
        [](VerbContext& context) { return DoOpenStudies(context); });
  }
  absl::StatusOr<std::vector<v1::StudyEvent>> ReadStudyEvents(absl::string_view study,
                                                              int64_t after, int limit) override {
    return Read<std::vector<v1::StudyEvent>>(
        [&](VerbContext& context) { return DoReadStudyEvents(context, study, after, limit); });
  }
  absl::StatusOr<StudyAdvance> AdvanceStudy(absl::string_view name) override {
    return Write<StudyAdvance>([&](VerbContext& context) { return DoAdvanceStudy(context, name); });
  }
  absl::StatusOr<StudyAdvance> FinishStudy(absl::string_view name,
                                           const std::vector<v1::Artifact>& files) override {
    return Write<StudyAdvance>(
        [&](VerbContext& context) { return DoFinishStudy(context, name, files); });
  }
  absl::StatusOr<v1::Study> PauseStudy(absl::string_view name, const RequestKey& request) override {
    return Write<v1::Study>(
        [&](VerbContext& context) { return DoPauseStudy(context, name, request); });
  }
  absl::StatusOr<v1::Study> ResumeStudy(absl::string_view name,
                                        const RequestKey& request) override {
    return Write<v1::Study>(
        [&](VerbContext& context) { return DoResumeStudy(context, name, request); });
  }
  absl::StatusOr<v1::Study> CancelStudy(absl::string_view name,
                                        const RequestKey& request) override {
    return Write<v1::Study>(
        [&](VerbContext& context) { return DoCancelStudy(context, name, request); },
        WritePlace::kMakesRoom);
  }
  absl::Status DeleteStudy(absl::string_view name) override {
    return WriteStatus([&](VerbContext& context) { return DoDeleteStudy(context, name); },
                       WritePlace::kMakesRoom);
  }

  absl::StatusOr<bool> IsBlobReferenced(absl::string_view sha256) override {
    return Read<bool>([&](VerbContext& context) { return context.tables.HasBlob(sha256); });
  }
  absl::StatusOr<std::vector<std::string>> ReleasedBlobs() override {
    return Read<std::vector<std::string>>(
        [](VerbContext& context) { return context.tables.ListReleasedBlobs(); });
  }
  absl::Status ForgetReleasedBlobs(absl::Span<const std::string> sha256) override {
    return Forget(sha256, &Tables::ForgetReleasedBlob);
  }
  absl::StatusOr<bool> PurgeDeleted() override {
    return Write<bool>(
        [](VerbContext& context) { return context.tables.PurgeDeleted(kRowsPurgedAtOnce); });
  }
  absl::StatusOr<int64_t> PruneRequestIds() override {
    int64_t pruned = 0;
    while (true) {
      ASSIGN_OR_RETURN(const int64_t some, Write<int64_t>([](VerbContext& context) {
                         return context.tables.DeleteRequestsBefore(
                             context.running_time - context.options.request_id_lifetime,
                             kAnswersPrunedAtOnce);
                       }));
      pruned += some;
      if (some < kAnswersPrunedAtOnce) return pruned;
    }
  }
  absl::StatusOr<int64_t> PruneCheckpoints() override {
    int64_t pruned = 0;
    while (true) {
      ASSIGN_OR_RETURN(const int64_t some, Write<int64_t>(
                                               [](VerbContext& context) {
                                                 return DoPruneCheckpoints(
                                                     context, kCheckpointsPrunedAtOnce);
                                               },
                                               WritePlace::kMakesRoom));
      pruned += some;
      if (some < kCheckpointsPrunedAtOnce) return pruned;
    }
  }
  absl::StatusOr<std::vector<DeletedJob>> PruneJobs() override {
    return Write<std::vector<DeletedJob>>(
        [](VerbContext& context) { return DoPruneJobs(context, kJobsDeletedAtOnce); },
        WritePlace::kMakesRoom);
  }
  absl::StatusOr<std::vector<std::string>> MarkedEnds(int limit) override {
    return Read<std::vector<std::string>>(
        [&](VerbContext& context) { return context.tables.ListMarkedEnds(limit); });
  }
  absl::Status ForgetEnd(absl::string_view job) override {
    return WriteStatus([&](VerbContext& context) { return DoForgetEnd(context, job); },
                       WritePlace::kMakesRoom);
  }
  const std::string& Id() const override { return identity().id; }
  absl::Duration RunningTime() const override { return VerbRunner::RunningTime(); }
  absl::Status Ping() override {
    return WriteStatus([](VerbContext&) { return absl::OkStatus(); });
  }
  absl::Status SaveRunningTime() override {
    return WriteStatus([](VerbContext& context) {
      return context.tables.UpdateRunningTime(context.running_time);
    });
  }
  absl::StatusOr<std::vector<NamedBlob>> NamedBlobs() override {
    return Read<std::vector<NamedBlob>>(
        [](VerbContext& context) { return context.tables.ListNamedBlobs(); });
  }
  absl::StatusOr<std::vector<std::string>> NamersOf(absl::string_view sha256) override {
    return Read<std::vector<std::string>>(
        [&](VerbContext& context) { return DoNamersOf(context, sha256); });
  }
  absl::StatusOr<std::vector<std::string>> FindDamage() override { return backend().FindDamage(); }
  absl::Status CopyTo(const std::string& path, const ByteProgress& progress) override {
    return backend().CopyTo(path, progress);
  }
  absl::StatusOr<std::vector<UnnamedBlob>> UnnamedBlobs() override {
    return Read<std::vector<UnnamedBlob>>(
        [](VerbContext& context) { return DoUnnamedBlobs(context); });
  }
  absl::Status NoteUnnamedBlobs(absl::Span<const UnnamedBlob> blobs) override {
    return WriteStatus([&](VerbContext& context) { return DoNoteUnnamedBlobs(context, blobs); },
                       WritePlace::kMakesRoom);
  }
  absl::Status ForgetUnnamedBlobs(absl::Span<const std::string> sha256) override {
    return Forget(sha256, &Tables::DeleteUnnamedBlob);
  }
  absl::StatusOr<StoreCounts> Counts() override {
    return Read<StoreCounts>([](VerbContext& context) { return DoCount(context); });
  }

 private:
  template <typename T>
  absl::StatusOr<T> Get(ResourceKind kind, absl::string_view name) {
    return Read<T>([&](VerbContext& context) {
      return DoGetResource<T>(context, {kind, std::string(name)});
    });
  }
  template <typename T>
  absl::StatusOr<Page<T>> List(ResourceKind kind, const AdapterFilter& filter, int page_size,
                               absl::string_view page_token) {
    return Read<Page<T>>([&](VerbContext& context) {
      return DoListResources<T>(context, kind, filter, page_size, page_token);
    });
  }
  absl::Status Forget(absl::Span<const std::string> blobs,
                      absl::Status (Tables::*one)(absl::string_view),
                      const char* verb = __builtin_FUNCTION()) {
    return WriteStatus(
        [&](VerbContext& context) -> absl::Status {
          for (const std::string& blob : blobs) RETURN_IF_ERROR((context.tables.*one)(blob));
          return absl::OkStatus();
        },
        WritePlace::kMakesRoom, verb);
  }
  absl::Status Delete(ResourceKind kind, absl::string_view name,
                      const char* verb = __builtin_FUNCTION()) {
    RETURN_IF_ERROR(ValidateName(name, "name"));
    return WriteStatus(
        [&](VerbContext& context) {
          return DoDeleteResource(context, {kind, std::string(name)});
        },
        WritePlace::kMakesRoom, verb);
  }

  const std::shared_ptr<JobListeners> listeners_;
};

absl::StatusOr<v1::PurgeJobsResponse> TransactionalStore::PurgeJobs(
    const JobPurge& purge, const PurgeListener& on_deleted) {
  ASSIGN_OR_RETURN(PurgeState state, Read<PurgeState>([&](VerbContext& context) {
                     return DoBeginPurge(context, purge);
                   }));
  const int limit = purge.force ? kJobsDeletedAtOnce : kJobsLookedAtAtOnce;
  while (!state.over) {
    // Whatever has to be looked through, the thread that writes does not wait for it.
    ASSIGN_OR_RETURN(const std::vector<int64_t> next,
                     Read<std::vector<int64_t>>([&](VerbContext& context) {
                       return DoFindPurgeable(context, purge, state.before, limit);
                     }));
    const auto step = [&](VerbContext& context) {
      return DoPurgeSome(context, purge, next, /*last=*/next.size() < static_cast<size_t>(limit),
                         state);
    };
    ASSIGN_OR_RETURN(state, purge.force ? Write<PurgeState>(step, WritePlace::kMakesRoom)
                                        : Read<PurgeState>(step));
    RETURN_IF_ERROR(on_deleted(state.deleted));
  }
  return state.answer;
}

absl::StatusOr<int64_t> TransactionalStore::WaitForEvents(absl::string_view job, int64_t after,
                                                          absl::Duration timeout) {
  ASSIGN_OR_RETURN(const std::string id, ParseJobId(job));
  Mutex mutex;
  CondVar changed;
  bool notified = false;
  const std::unique_ptr<Subscription> subscription = Subscribe(JobName(id), [&](const JobChange&) {
    MutexLock lock(mutex);
    notified = true;
    changed.NotifyAll();
  });
  Clock& clock = *options().clock;
  const absl::Duration deadline = clock.Boottime() + timeout;
  while (true) {
    ASSIGN_OR_RETURN(const v1::Job now, GetJob(JobName(id)));
    if (now.last_sequence() > after || now.done() || clock.Boottime() >= deadline) {
      return now.last_sequence();
    }
    MutexLock lock(mutex);
    while (!notified && clock.WaitUntil(changed, mutex, deadline)) {
    }
    notified = false;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobStore>> MakeTransactionalStore(
    StoreOptions options, std::shared_ptr<JobListeners> listeners,
    std::unique_ptr<Backend> backend) {
  IdentityRow identity;
  RETURN_IF_ERROR(backend->Read([&](Tables& tables) -> absl::Status {
    ASSIGN_OR_RETURN(identity, tables.ReadIdentity());
    return absl::OkStatus();
  }));
  return std::make_unique<TransactionalStore>(FillDefaults(std::move(options)),
                                              std::move(listeners), std::move(backend),
                                              std::move(identity));
}

StoreOptions FillDefaults(StoreOptions options) {
  if (options.new_job_id == nullptr) options.new_job_id = NewJobId;
  return options;
}

}  // namespace graft
