#pragma once

// Rows in maps, with an undo log. One thread at a time.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/jobs/names.h"
#include "server/store/tables.h"

namespace graft {

class MemoryTables : public Tables {
 public:
  // Makes what was written since the last call final, or takes it back.
  void Commit() { undo_.clear(); }
  void Rollback();

  absl::Status InsertJob(JobRow& row, const v1::Job& specs,
                         absl::Span<const ResourceRef> uses) override;
  absl::Status UpdateJob(const JobRow& row) override;
  absl::Status UpdateJobKeys(const JobRow& row) override;  // UpdateJob has done it.
  absl::Status DeleteJob(int64_t number) override;
  absl::StatusOr<bool> PurgeDeleted(int rows) override;
  absl::StatusOr<std::optional<JobRow>> FindJob(absl::string_view id) override;
  absl::StatusOr<std::optional<JobRow>> FindJob(int64_t number) override;
  absl::StatusOr<v1::Job> ReadSpecs(int64_t number) override;
  absl::StatusOr<std::vector<JobRow>> ListJobs(const JobFilter& filter, JobOrder order,
                                               const std::optional<JobKey>& after,
                                               int limit) override;
  absl::StatusOr<std::vector<JobNeeds>> ListQueuedNeeds() override;
  absl::StatusOr<std::vector<JobRow>> ListQueue(const std::optional<JobNeeds>& needs,
                                                const std::optional<JobKey>& after,
                                                int limit) override;
  absl::StatusOr<int64_t> CountQueuedBefore(const JobKey& key) override;
  absl::StatusOr<int64_t> CountJobs(v1::JobState state) override;
  absl::StatusOr<std::vector<JobDeadline>> ListDeadlines(int limit) override;
  absl::StatusOr<std::vector<int64_t>> ListDoneBefore(absl::Duration running_time,
                                                      bool with_marked_ends, int limit) override;
  absl::StatusOr<std::vector<std::string>> ListMarkedEnds(int limit) override;
  absl::StatusOr<std::optional<std::string>> FindUser(const ResourceRef& resource) override;
  absl::StatusOr<std::optional<std::string>> FindPublisher(const ResourceRef& output) override;

  absl::Status AppendEvent(int64_t job, const v1::JobEvent& event) override;
  absl::StatusOr<std::vector<v1::JobEvent>> ReadEvents(int64_t job, int64_t after, int limit,
                                                       int64_t max_bytes) override;
  absl::StatusOr<std::optional<v1::Metrics>> FindLogged(int64_t job, LoggedKind kind,
                                                        int64_t step) override;
  absl::Status PutLogged(int64_t job, LoggedKind kind, const v1::Metrics& metrics) override;
  absl::Status ForgetLogged(int64_t job, LoggedKind kind, int64_t step) override;

  absl::Status PutAttempt(const AttemptRow& row) override;
  absl::StatusOr<std::optional<AttemptRow>> FindAttempt(int64_t job, int32_t number) override;
  absl::StatusOr<std::vector<AttemptRow>> ListAttempts(int64_t job) override;

  absl::Status InsertLease(const LeaseRow& row) override;
  absl::Status DeleteLease(int64_t job) override;
  absl::StatusOr<std::optional<LeaseRow>> FindLease(int64_t job) override;
  absl::StatusOr<std::vector<LeaseRow>> ListLeases() override;

  absl::StatusOr<std::vector<CheckpointRow>> ListCheckpoints(int64_t job) override;
  absl::Status PutCheckpoint(int64_t job, const CheckpointRow& row) override;
  absl::Status DeleteCheckpoint(int64_t job, int64_t step) override;
  absl::StatusOr<std::vector<CheckpointKey>> ListKeptBefore(absl::Duration running_time,
                                                            int limit) override;

  absl::StatusOr<std::optional<RequestRow>> FindRequest(absl::string_view verb,
                                                        absl::string_view id) override;
  absl::Status PutRequest(const RequestRow& row) override;
  absl::StatusOr<int64_t> DeleteRequestsBefore(absl::Duration running_time, int limit) override;

  absl::Status InsertResource(const ResourceRow& row) override;
  absl::Status DeleteResource(const ResourceRef& ref) override;
  absl::StatusOr<std::optional<ResourceRow>> FindResource(const ResourceRef& ref) override;
  absl::StatusOr<std::vector<ResourceRow>> ListResources(ResourceKind kind,
                                                         const AdapterFilter& filter,
                                                         absl::string_view after,
                                                         int limit) override;
  absl::StatusOr<int64_t> CountResources(ResourceKind kind) override;

  absl::Status PutFiles(HolderKind kind, absl::string_view holder,
                        absl::Span<const v1::Artifact> files) override;
  absl::StatusOr<std::vector<v1::Artifact>> ListFiles(HolderKind kind,
                                                      absl::string_view holder) override;
  absl::StatusOr<bool> HasBlob(absl::string_view sha256) override;
  absl::StatusOr<std::vector<NamedBlob>> ListNamedBlobs() override;
  absl::StatusOr<std::vector<Namer>> ListNamers(absl::string_view sha256, int limit) override;
  absl::StatusOr<std::vector<std::string>> ListReleasedBlobs() override;
  absl::Status ForgetReleasedBlob(absl::string_view sha256) override;

  absl::Status InsertStudy(StudyRow& row) override;
  absl::Status UpdateStudy(const StudyRow& row) override;
  absl::Status DeleteStudy(int64_t number) override;
  absl::StatusOr<std::optional<StudyRow>> FindStudy(absl::string_view id) override;
  absl::StatusOr<std::vector<StudyRow>> ListStudies(std::optional<int64_t> before, bool open,
                                                    int limit) override;
  absl::Status InsertTrial(int64_t study, const v1::Trial& trial, const v1::Job& job) override;
  absl::Status PutTrial(int64_t study, const v1::Trial& trial) override;
  absl::StatusOr<std::vector<v1::Trial>> ListTrials(int64_t study) override;
  absl::StatusOr<v1::Job> ReadTrialSpecs(int64_t study, int32_t trial) override;
  absl::Status AppendStudyEvent(int64_t study, const v1::StudyEvent& event) override;
  absl::StatusOr<std::vector<v1::StudyEvent>> ReadStudyEvents(int64_t study, int64_t after,
                                                              int limit,
                                                              int64_t max_bytes) override;

  absl::StatusOr<IdentityRow> ReadIdentity() override;
  absl::Status UpdateRunningTime(absl::Duration running_time) override;
  absl::Status PutUnnamedBlob(const UnnamedBlobRow& row) override;
  absl::StatusOr<std::vector<UnnamedBlobRow>> ListUnnamedBlobs() override;
  absl::Status DeleteUnnamedBlob(absl::string_view sha256) override;

  absl::StatusOr<StoreCounts> Counts() override;

 private:
  // A job with all that goes with it.
  struct Entry {
    JobRow row;
    v1::Job specs;
    std::vector<ResourceRef> uses;
    std::vector<v1::JobEvent> events;
    std::map<std::pair<LoggedKind, int64_t>, v1::Metrics> logged;
    std::map<int32_t, AttemptRow> attempts;
    std::map<int64_t, CheckpointRow> checkpoints;  // By step.
  };
  struct StudyEntry {
    StudyRow row;
    std::map<int32_t, v1::Trial> trials;
    std::map<int32_t, v1::Job> specs;  // Of trials.
    std::vector<v1::StudyEvent> events;
  };
  using QueueKey = std::pair<int32_t, int64_t>;  // Priority negated, number.
  using ResourceKey = std::pair<ResourceKind, std::string>;

  // map[key] = value (or erased, without one), noted in the undo log.
  template <typename Map, typename Value>
  void Set(Map& map, typename Map::key_type key, std::optional<Value> value);
  // Keeps queue_ and active_ in step with a row; `row` null: it is gone.
  void Reindex(int64_t number, const JobRow* row);
  absl::StatusOr<Entry*> Require(int64_t number);

  std::map<int64_t, Entry> jobs_;
  std::map<std::string, int64_t> numbers_;  // By id.
  std::set<QueueKey> queue_;                // Queued jobs in the order in which they run.
  std::set<int64_t> active_;                // Jobs that are not done.
  int64_t last_number_ = 0;
  std::map<int64_t, LeaseRow> leases_;
  std::map<int64_t, StudyEntry> studies_;
  int64_t last_study_ = 0;
  std::map<std::pair<std::string, std::string>, RequestRow> requests_;  // By verb and id.
  std::map<ResourceKey, ResourceRow> resources_;
  std::map<std::pair<HolderKind, std::string>, std::vector<v1::Artifact>> files_;
  std::map<std::string, bool> released_;           // By hash; the value says nothing.
  std::map<std::string, UnnamedBlobRow> unnamed_;  // By hash.
  IdentityRow identity_ = {absl::StrCat(kMemoryStorePrefix, NewJobId()), absl::ZeroDuration()};
  std::vector<std::function<void()>> undo_;
};

}  // namespace graft
