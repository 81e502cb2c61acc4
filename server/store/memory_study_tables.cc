// Studies, their trials and events. MemoryTables' other methods: memory_tables.cc.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/memory_tables.h"

namespace graft {
namespace {

absl::Status NoStudy(int64_t number) {
  return absl::InternalError(absl::StrCat("no study ", number));
}

}  // namespace

absl::Status MemoryTables::InsertStudy(StudyRow& row) {
  row.number = ++last_study_;
  studies_[row.number].row = row;
  undo_.push_back([this, number = row.number] { studies_.erase(number); });
  return absl::OkStatus();
}

absl::Status MemoryTables::UpdateStudy(const StudyRow& row) {
  const auto found = studies_.find(row.number);
  if (found == studies_.end()) return NoStudy(row.number);
  undo_.push_back([this, old = found->second.row] { studies_[old.number].row = old; });
  found->second.row = row;
  return absl::OkStatus();
}

absl::Status MemoryTables::DeleteStudy(int64_t number) {
  const auto found = studies_.find(number);
  if (found == studies_.end()) return absl::OkStatus();
  undo_.push_back([this, number, old = std::move(found->second)] { studies_[number] = old; });
  studies_.erase(found);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<StudyRow>> MemoryTables::FindStudy(absl::string_view id) {
  for (const auto& [number, entry] : studies_) {
    if (StudyIdOf(entry.row.study) == id) return std::optional<StudyRow>(entry.row);
  }
  return std::optional<StudyRow>();
}

absl::StatusOr<std::vector<StudyRow>> MemoryTables::ListStudies(std::optional<int64_t> before,
                                                                bool open, int limit) {
  std::vector<StudyRow> rows;
  for (auto entry = studies_.rbegin(); entry != studies_.rend(); ++entry) {
    const StudyRow& row = entry->second.row;
    if (limit >= 0 && rows.size() >= static_cast<size_t>(limit)) break;
    if (before && row.number >= *before) continue;
    if (!open || !row.study.done()) rows.push_back(row);
  }
  return rows;
}

absl::Status MemoryTables::InsertTrial(int64_t study, const v1::Trial& trial, const v1::Job& job) {
  const auto found = studies_.find(study);
  if (found == studies_.end()) return NoStudy(study);
  found->second.specs[trial.number()] = job;
  undo_.push_back([this, study, number = trial.number()] { studies_[study].specs.erase(number); });
  return PutTrial(study, trial);
}

absl::Status MemoryTables::PutTrial(int64_t study, const v1::Trial& trial) {
  const auto found = studies_.find(study);
  if (found == studies_.end()) return NoStudy(study);
  auto& trials = found->second.trials;
  const auto old = trials.find(trial.number());
  if (old == trials.end()) {
    undo_.push_back(
        [this, study, number = trial.number()] { studies_[study].trials.erase(number); });
  } else {
    undo_.push_back(
        [this, study, before = old->second] { studies_[study].trials[before.number()] = before; });
  }
  trials[trial.number()] = trial;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::Trial>> MemoryTables::ListTrials(int64_t study) {
  const auto found = studies_.find(study);
  if (found == studies_.end()) return NoStudy(study);
  std::vector<v1::Trial> trials;
  for (const auto& [number, trial] : found->second.trials) trials.push_back(trial);
  return trials;
}

absl::StatusOr<v1::Job> MemoryTables::ReadTrialSpecs(int64_t study, int32_t trial) {
  const auto found = studies_.find(study);
  if (found == studies_.end() || !found->second.specs.contains(trial)) return NoStudy(study);
  return found->second.specs.at(trial);
}

absl::Status MemoryTables::AppendStudyEvent(int64_t study, const v1::StudyEvent& event) {
  const auto found = studies_.find(study);
  if (found == studies_.end()) return NoStudy(study);
  if (event.sequence() != static_cast<int64_t>(found->second.events.size()) + 1) {
    return absl::InternalError(absl::StrCat("study event ", event.sequence(), " leaves a gap"));
  }
  found->second.events.push_back(event);
  undo_.push_back([this, study] { studies_[study].events.pop_back(); });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::StudyEvent>> MemoryTables::ReadStudyEvents(int64_t study,
                                                                          int64_t after, int limit,
                                                                          int64_t max_bytes) {
  const auto found = studies_.find(study);
  if (found == studies_.end()) return NoStudy(study);
  std::vector<v1::StudyEvent> events;
  int64_t bytes = 0;
  const auto& all = found->second.events;
  for (size_t i = std::max<int64_t>(0, after); i < all.size() && bytes < max_bytes; ++i) {
    if (events.size() >= static_cast<size_t>(std::max(0, limit))) break;
    events.push_back(all[i]);
    bytes += static_cast<int64_t>(all[i].ByteSizeLong());
  }
  return events;
}

}  // namespace graft
