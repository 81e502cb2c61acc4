// What jobs leave behind: events, attempts, checkpoints. MemoryTables' other methods:
// memory_tables.cc.

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/memory_tables.h"

namespace graft {

absl::Status MemoryTables::AppendEvent(int64_t job, const v1::JobEvent& event) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  if (event.sequence() != static_cast<int64_t>((*entry)->events.size()) + 1) {
    return absl::InternalError(absl::StrCat("event ", event.sequence(), " leaves a gap"));
  }
  (*entry)->events.push_back(event);
  undo_.push_back([this, job] { jobs_[job].events.pop_back(); });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::JobEvent>> MemoryTables::ReadEvents(int64_t job, int64_t after,
                                                                   int limit, int64_t max_bytes) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  std::vector<v1::JobEvent> events;
  const auto& all = (*entry)->events;
  int64_t bytes = 0;
  for (size_t i = std::max<int64_t>(0, after); i < all.size() && bytes < max_bytes; ++i) {
    if (events.size() >= static_cast<size_t>(std::max(0, limit))) break;
    events.push_back(all[i]);
    bytes += all[i].ByteSizeLong();
  }
  return events;
}

absl::StatusOr<std::optional<v1::Metrics>> MemoryTables::FindLogged(int64_t job, LoggedKind kind,
                                                                    int64_t step) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  const auto found = (*entry)->logged.find({kind, step});
  if (found == (*entry)->logged.end()) return std::optional<v1::Metrics>();
  return std::optional<v1::Metrics>(found->second);
}

// The maps inside an entry move with it, so their undo looks the entry up again.
absl::Status MemoryTables::PutLogged(int64_t job, LoggedKind kind, const v1::Metrics& metrics) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  const std::pair<LoggedKind, int64_t> key(kind, metrics.step());
  const auto found = (*entry)->logged.find(key);
  if (found == (*entry)->logged.end()) {
    undo_.push_back([this, job, key] { jobs_[job].logged.erase(key); });
  } else {
    undo_.push_back([this, job, key, old = found->second] { jobs_[job].logged[key] = old; });
  }
  (*entry)->logged[key] = metrics;
  return absl::OkStatus();
}

absl::Status MemoryTables::ForgetLogged(int64_t job, LoggedKind kind, int64_t step) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  auto& logged = (*entry)->logged;
  for (auto it = logged.upper_bound({kind, step}); it != logged.end() && it->first.first == kind;) {
    undo_.push_back([this, job, old = *it] { jobs_[job].logged.insert(old); });
    it = logged.erase(it);
  }
  return absl::OkStatus();
}

absl::Status MemoryTables::PutAttempt(const AttemptRow& row) {
  const absl::StatusOr<Entry*> entry = Require(row.job);
  if (!entry.ok()) return entry.status();
  const int32_t number = row.attempt.number();
  const auto found = (*entry)->attempts.find(number);
  if (found == (*entry)->attempts.end()) {
    undo_.push_back([this, job = row.job, number] { jobs_[job].attempts.erase(number); });
  } else {
    undo_.push_back(
        [this, old = found->second] { jobs_[old.job].attempts[old.attempt.number()] = old; });
  }
  (*entry)->attempts[number] = row;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<AttemptRow>> MemoryTables::FindAttempt(int64_t job, int32_t number) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  const auto found = (*entry)->attempts.find(number);
  if (found == (*entry)->attempts.end()) return std::optional<AttemptRow>();
  return std::optional<AttemptRow>(found->second);
}

absl::StatusOr<std::vector<AttemptRow>> MemoryTables::ListAttempts(int64_t job) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  std::vector<AttemptRow> rows;
  for (const auto& [number, row] : (*entry)->attempts) rows.push_back(row);
  return rows;
}

absl::StatusOr<std::vector<CheckpointRow>> MemoryTables::ListCheckpoints(int64_t job) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  std::vector<CheckpointRow> rows;
  for (const auto& [step, row] : (*entry)->checkpoints) rows.push_back(row);
  std::reverse(rows.begin(), rows.end());
  return rows;
}

absl::Status MemoryTables::PutCheckpoint(int64_t job, const CheckpointRow& row) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  undo_.push_back([this, job, old = (*entry)->checkpoints] { jobs_[job].checkpoints = old; });
  (*entry)->checkpoints[row.step] = row;
  return absl::OkStatus();
}

absl::Status MemoryTables::DeleteCheckpoint(int64_t job, int64_t step) {
  const absl::StatusOr<Entry*> entry = Require(job);
  if (!entry.ok()) return entry.status();
  undo_.push_back([this, job, old = (*entry)->checkpoints] { jobs_[job].checkpoints = old; });
  (*entry)->checkpoints.erase(step);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Tables::CheckpointKey>> MemoryTables::ListKeptBefore(
    absl::Duration running_time, int limit) {
  std::multimap<absl::Duration, CheckpointKey> kept;
  for (const auto& [job, entry] : jobs_) {
    for (const auto& [step, row] : entry.checkpoints) {
      const absl::Duration since = row.kept_since.value_or(running_time);
      if (since < running_time) kept.insert({since, {job, step}});
    }
  }
  std::vector<CheckpointKey> keys;
  for (const auto& one : kept) keys.push_back(one.second);
  keys.resize(std::min(keys.size(), static_cast<size_t>(limit)));
  return keys;
}

}  // namespace graft
