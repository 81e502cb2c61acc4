#pragma once

// Rows in a SQLite database: each method is one or two statements. Transactions are
// the caller's (sqlite_backend.h). One thread at a time.

#include <optional>
#include <string>
#include <vector>

#include "server/store/sqlite_database.h"
#include "server/store/tables.h"

namespace graft {

class SqliteTables : public Tables {
 public:
  explicit SqliteTables(SqliteDatabase& database) : database_(database) {}

  absl::Status InsertJob(JobRow& row, const v1::Job& specs,
                         absl::Span<const ResourceRef> uses) override;
  absl::Status UpdateJob(const JobRow& row) override;
  absl::Status UpdateJobKeys(const JobRow& row) override;
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
  absl::Status InsertLabels(const JobRow& row);
  SqliteDatabase& database_;
};

}  // namespace graft
