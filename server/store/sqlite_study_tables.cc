// Studies, their trials and events. Methods of SqliteTables.

#include <limits>

#include "common/base/status_macros.h"
#include "common/jobs/names.h"
#include "server/store/sqlite_tables.h"

namespace graft {
namespace {

constexpr char kInsertStudy[] =
    "INSERT INTO studies (id, version, done, since_ns, study) VALUES (?1, ?2, ?3, ?4, ?5)";
constexpr char kUpdateStudy[] =
    "UPDATE studies SET version = ?2, done = ?3, since_ns = ?4, paused_since_ns = ?5, study = ?6 "
    "WHERE number = ?1";
constexpr char kDeleteStudy[] = "DELETE FROM studies WHERE number = ?1";
constexpr char kFindStudy[] =
    "SELECT number, version, since_ns, paused_since_ns, study FROM studies WHERE owner = 'default' "
    "AND id = ?1";
constexpr char kListStudies[] =
    "SELECT number, version, since_ns, paused_since_ns, study FROM studies INDEXED BY "
    "studies_by_number "
    "WHERE owner = 'default' AND number < ?1 ORDER BY number DESC LIMIT ?2";
constexpr char kListOpenStudies[] =
    "SELECT number, version, since_ns, paused_since_ns, study FROM studies INDEXED BY studies_open "
    "WHERE owner = 'default' AND done = 0 AND number < ?1 ORDER BY number DESC LIMIT ?2";

constexpr char kPutTrial[] =
    "INSERT INTO study_trials (study, number, trial) VALUES (?1, ?2, ?3) "
    "ON CONFLICT DO UPDATE SET trial = excluded.trial";
constexpr char kInsertTrialSpecs[] =
    "INSERT INTO trial_specs (study, number, job) VALUES (?1, ?2, ?3)";
constexpr char kListTrials[] = "SELECT trial FROM study_trials WHERE study = ?1 ORDER BY number";
constexpr char kReadTrialSpecs[] = "SELECT job FROM trial_specs WHERE study = ?1 AND number = ?2";

constexpr char kInsertStudyEvent[] =
    "INSERT INTO study_events (study, sequence, event) VALUES (?1, ?2, ?3)";
constexpr char kReadStudyEvents[] =
    "SELECT event FROM study_events WHERE study = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3";

std::optional<StudyRow> ReadStudy(SqliteQuery& query) {
  if (!query.Next()) return std::nullopt;
  StudyRow row;
  row.number = query.Int(0);
  row.version = query.Int(1);
  row.since = absl::Nanoseconds(query.Int(2));
  if (!query.IsNull(3)) row.paused_since = absl::Nanoseconds(query.Int(3));
  if (!query.Parse(4, row.study)) return std::nullopt;
  return row;
}

}  // namespace

absl::Status SqliteTables::InsertStudy(StudyRow& row) {
  RETURN_IF_ERROR(database_.Run(kInsertStudy, StudyIdOf(row.study), row.version, row.study.done(),
                                absl::ToInt64Nanoseconds(row.since), SqliteBlob(row.study)));
  row.number = database_.LastInsertId();
  return absl::OkStatus();
}

absl::Status SqliteTables::UpdateStudy(const StudyRow& row) {
  std::optional<int64_t> paused_since;
  if (row.paused_since) paused_since = absl::ToInt64Nanoseconds(*row.paused_since);
  return database_.Run(kUpdateStudy, row.number, row.version, row.study.done(),
                       absl::ToInt64Nanoseconds(row.since), paused_since, SqliteBlob(row.study));
}

absl::Status SqliteTables::DeleteStudy(int64_t number) {
  return database_.Run(kDeleteStudy, number);
}

absl::StatusOr<std::optional<StudyRow>> SqliteTables::FindStudy(absl::string_view id) {
  SqliteQuery query(database_, kFindStudy, id);
  std::optional<StudyRow> row = ReadStudy(query);
  RETURN_IF_ERROR(query.status());
  return row;
}

absl::StatusOr<std::vector<StudyRow>> SqliteTables::ListStudies(std::optional<int64_t> before,
                                                                bool open, int limit) {
  SqliteQuery query(database_, open ? kListOpenStudies : kListStudies,
                    before.value_or(std::numeric_limits<int64_t>::max()), limit);
  std::vector<StudyRow> rows;
  while (std::optional<StudyRow> row = ReadStudy(query)) rows.push_back(*std::move(row));
  RETURN_IF_ERROR(query.status());
  return rows;
}

absl::Status SqliteTables::InsertTrial(int64_t study, const v1::Trial& trial, const v1::Job& job) {
  RETURN_IF_ERROR(database_.Run(kInsertTrialSpecs, study, trial.number(), SqliteBlob(job)));
  return PutTrial(study, trial);
}

absl::Status SqliteTables::PutTrial(int64_t study, const v1::Trial& trial) {
  return database_.Run(kPutTrial, study, trial.number(), SqliteBlob(trial));
}

absl::StatusOr<std::vector<v1::Trial>> SqliteTables::ListTrials(int64_t study) {
  SqliteQuery query(database_, kListTrials, study);
  std::vector<v1::Trial> trials;
  while (query.Next()) {
    if (!query.Parse(0, trials.emplace_back())) break;
  }
  RETURN_IF_ERROR(query.status());
  return trials;
}

absl::StatusOr<v1::Job> SqliteTables::ReadTrialSpecs(int64_t study, int32_t trial) {
  SqliteQuery query(database_, kReadTrialSpecs, study, trial);
  v1::Job job;
  const bool found = query.Next() && query.Parse(0, job);
  RETURN_IF_ERROR(query.status());
  if (!found) return absl::InternalError("a trial without specs");
  return job;
}

absl::Status SqliteTables::AppendStudyEvent(int64_t study, const v1::StudyEvent& event) {
  return database_.Run(kInsertStudyEvent, study, event.sequence(), SqliteBlob(event));
}

absl::StatusOr<std::vector<v1::StudyEvent>> SqliteTables::ReadStudyEvents(int64_t study,
                                                                          int64_t after, int limit,
                                                                          int64_t max_bytes) {
  SqliteQuery query(database_, kReadStudyEvents, study, after, limit);
  std::vector<v1::StudyEvent> events;
  int64_t bytes = 0;
  while (bytes < max_bytes && query.Next()) {
    v1::StudyEvent event;
    if (!query.Parse(0, event)) break;
    bytes += event.ByteSizeLong();
    events.push_back(std::move(event));
  }
  RETURN_IF_ERROR(query.status());
  return events;
}

}  // namespace graft
