#include "server/store/memory_tables.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/jobs/names.h"
#include "common/jobs/timestamps.h"

namespace graft {
namespace {

std::string IdOf(const JobRow& row) { return row.job.name().substr(sizeof(kJobPrefix) - 1); }

bool IsIn(const std::optional<TimeRange>& range, bool has_time,
          const google::protobuf::Timestamp& time) {
  return !range || (has_time && range->Contains(FromTimestamp(time)));
}

bool Matches(const JobFilter& filter, const JobRow& row) {
  const v1::Job& job = row.job;
  for (const auto& [key, value] : filter.labels) {
    const auto found = job.labels().find(key);
    if (found == job.labels().end() || found->second != value) return false;
  }
  return (!filter.state || *filter.state == job.state()) &&
         (!filter.done || *filter.done == job.done()) &&
         (!filter.study || *filter.study == job.study()) &&
         (!filter.method || *filter.method == row.method) &&
         (!filter.base_model || *filter.base_model == row.base_model) &&
         (!filter.display_name || *filter.display_name == job.display_name()) &&
         IsIn(filter.create_time, job.has_create_time(), job.create_time()) &&
         IsIn(filter.end_time, job.has_end_time(), job.end_time());
}

}  // namespace

void MemoryTables::Rollback() {
  for (auto undo = undo_.rbegin(); undo != undo_.rend(); ++undo) (*undo)();
  undo_.clear();
}

template <typename Map, typename Value>
void MemoryTables::Set(Map& map, typename Map::key_type key, std::optional<Value> value) {
  auto found = map.find(key);
  if (found == map.end()) {
    undo_.push_back([&map, key] { map.erase(key); });
  } else {
    undo_.push_back([&map, key, old = std::move(found->second)] { map[key] = old; });
    map.erase(found);
  }
  if (value) map[key] = *std::move(value);
}

void MemoryTables::Reindex(int64_t number, const JobRow* row) {
  const QueueKey before(-jobs_[number].row.job.priority(), number);
  const QueueKey after = row == nullptr ? before : QueueKey(-row->job.priority(), number);
  undo_.push_back(
      [this, before, after, queue = queue_.count(before) > 0, active = active_.count(number) > 0] {
        queue_.erase(after);
        queue ? void(queue_.insert(before)) : void(queue_.erase(before));
        active ? void(active_.insert(before.second)) : void(active_.erase(before.second));
      });
  queue_.erase(before);
  active_.erase(number);
  if (row == nullptr) return;
  if (row->job.state() == v1::JOB_STATE_QUEUED) queue_.insert(after);
  if (!row->job.done()) active_.insert(number);
}

absl::StatusOr<MemoryTables::Entry*> MemoryTables::Require(int64_t number) {
  const auto found = jobs_.find(number);
  if (found == jobs_.end()) return absl::InternalError(absl::StrCat("no job ", number));
  return &found->second;
}

absl::Status MemoryTables::InsertJob(JobRow& row, const v1::Job& specs,
                                     absl::Span<const ResourceRef> uses) {
  row.number = ++last_number_;
  if (numbers_.count(IdOf(row)) > 0) {
    return absl::InternalError(absl::StrCat(row.job.name(), " is there already"));
  }
  jobs_[row.number] = Entry{row, specs, {uses.begin(), uses.end()}, {}, {}, {}, {}};
  numbers_[IdOf(row)] = row.number;
  undo_.push_back([this, number = row.number, id = IdOf(row)] {
    jobs_.erase(number);
    numbers_.erase(id);
  });
  Reindex(row.number, &row);
  return absl::OkStatus();
}

absl::Status MemoryTables::UpdateJob(const JobRow& row) {
  const absl::StatusOr<Entry*> entry = Require(row.number);
  if (!entry.ok()) return entry.status();
  undo_.push_back([this, old = (*entry)->row] { jobs_[old.number].row = old; });
  Reindex(row.number, &row);
  (*entry)->row = row;
  return absl::OkStatus();
}

absl::Status MemoryTables::UpdateJobKeys(const JobRow&) { return absl::OkStatus(); }

absl::Status MemoryTables::DeleteJob(int64_t number) {
  const absl::StatusOr<Entry*> entry = Require(number);
  if (!entry.ok()) return entry.status();
  Reindex(number, nullptr);
  numbers_.erase(IdOf((*entry)->row));
  undo_.push_back([this, old = std::move(**entry)] {
    numbers_[IdOf(old.row)] = old.row.number;
    jobs_[old.row.number] = old;
  });
  jobs_.erase(number);
  return absl::OkStatus();
}

absl::StatusOr<bool> MemoryTables::PurgeDeleted(int) { return false; }

absl::StatusOr<std::optional<JobRow>> MemoryTables::FindJob(absl::string_view id) {
  const auto found = numbers_.find(std::string(id));
  if (found == numbers_.end()) return std::optional<JobRow>();
  return FindJob(found->second);
}

absl::StatusOr<std::optional<JobRow>> MemoryTables::FindJob(int64_t number) {
  const auto found = jobs_.find(number);
  if (found == jobs_.end()) return std::optional<JobRow>();
  return std::optional<JobRow>(found->second.row);
}

absl::StatusOr<v1::Job> MemoryTables::ReadSpecs(int64_t number) {
  const absl::StatusOr<Entry*> entry = Require(number);
  if (!entry.ok()) return entry.status();
  return (*entry)->specs;
}

absl::StatusOr<std::vector<JobRow>> MemoryTables::ListJobs(const JobFilter& filter, JobOrder order,
                                                           const std::optional<JobKey>& after,
                                                           int limit) {
  std::vector<JobRow> rows;
  const auto add = [&](const JobRow& row) {
    if (Matches(filter, row)) rows.push_back(row);
    return rows.size() < static_cast<size_t>(limit);
  };
  if (limit <= 0) return rows;
  if (order == JobOrder::kNewestFirst) {
    auto end = after ? jobs_.lower_bound(after->number) : jobs_.end();
    for (auto job = std::make_reverse_iterator(end); job != jobs_.rend(); ++job) {
      if (!add(job->second.row)) break;
    }
  } else if (order == JobOrder::kOldestFirst) {
    auto job = after ? jobs_.upper_bound(after->number) : jobs_.begin();
    for (; job != jobs_.end() && add(job->second.row); ++job) continue;
  } else {
    std::set<QueueKey> sorted;
    const bool queued = filter.state == v1::JOB_STATE_QUEUED;
    if (!queued) {
      for (const auto& [number, entry] : jobs_) sorted.insert({-entry.row.job.priority(), number});
    }
    const std::set<QueueKey>& keys = queued ? queue_ : sorted;
    auto key = after ? keys.upper_bound({-after->priority, after->number}) : keys.begin();
    for (; key != keys.end() && add(jobs_[key->second].row); ++key) continue;
  }
  return rows;
}

absl::StatusOr<std::vector<JobNeeds>> MemoryTables::ListQueuedNeeds() {
  std::map<std::string, JobNeeds> needs;
  for (const QueueKey& key : queue_) {
    const JobNeeds& each = jobs_[key.second].row.needs;
    needs[ToColumn(each)] = each;
  }
  std::vector<JobNeeds> all;
  for (const auto& [column, each] : needs) all.push_back(each);
  return all;
}

absl::StatusOr<std::vector<JobRow>> MemoryTables::ListQueue(const std::optional<JobNeeds>& needs,
                                                            const std::optional<JobKey>& after,
                                                            int limit) {
  std::vector<JobRow> rows;
  auto key = after ? queue_.upper_bound({-after->priority, after->number}) : queue_.begin();
  for (; key != queue_.end() && rows.size() < static_cast<size_t>(limit); ++key) {
    const JobRow& row = jobs_[key->second].row;
    if (!needs || *needs == row.needs) rows.push_back(row);
  }
  return rows;
}

absl::StatusOr<int64_t> MemoryTables::CountQueuedBefore(const JobKey& key) {
  return std::distance(queue_.begin(), queue_.lower_bound({-key.priority, key.number}));
}

absl::StatusOr<int64_t> MemoryTables::CountJobs(v1::JobState state) {
  if (state == v1::JOB_STATE_QUEUED) return queue_.size();
  return std::count_if(jobs_.begin(), jobs_.end(),
                       [&](const auto& job) { return job.second.row.job.state() == state; });
}

absl::StatusOr<std::vector<Tables::JobDeadline>> MemoryTables::ListDeadlines(int limit) {
  std::vector<JobDeadline> deadlines;
  for (const int64_t number : active_) {
    const v1::Job& job = jobs_[number].row.job;
    if (job.has_deadline()) deadlines.push_back({number, FromTimestamp(job.deadline())});
  }
  std::stable_sort(deadlines.begin(), deadlines.end(),
                   [](const JobDeadline& a, const JobDeadline& b) { return a.time < b.time; });
  deadlines.resize(std::min(deadlines.size(), static_cast<size_t>(limit)));
  return deadlines;
}

absl::StatusOr<std::vector<int64_t>> MemoryTables::ListDoneBefore(absl::Duration running_time,
                                                                  bool with_marked_ends,
                                                                  int limit) {
  std::set<std::pair<absl::Duration, int64_t>> done;
  for (const auto& [number, entry] : jobs_) {
    const absl::Duration since = entry.row.done_since.value_or(running_time);
    if (since >= running_time || (entry.row.end_marked && !with_marked_ends)) continue;
    if (*FindUser({ResourceKind::kJob, entry.row.job.name()})) continue;
    const auto is_pinned = [](const auto& checkpoint) { return checkpoint.second.pinned; };
    if (absl::c_any_of(entry.checkpoints, is_pinned)) continue;
    done.insert({since, number});
  }
  std::vector<int64_t> numbers;
  for (const auto& one : done) numbers.push_back(one.second);
  numbers.resize(std::min(numbers.size(), static_cast<size_t>(limit)));
  return numbers;
}

absl::StatusOr<std::vector<std::string>> MemoryTables::ListMarkedEnds(int limit) {
  std::map<std::pair<absl::Duration, int64_t>, std::string> marked;
  for (const auto& [number, entry] : jobs_) {
    const JobRow& row = entry.row;
    if (!row.end_marked) continue;
    marked[{row.done_since.value_or(absl::ZeroDuration()), number}] = row.job.name();
  }
  std::vector<std::string> names;
  for (const auto& one : marked) names.push_back(one.second);
  names.resize(std::min(names.size(), static_cast<size_t>(limit)));
  return names;
}

absl::StatusOr<std::optional<std::string>> MemoryTables::FindUser(const ResourceRef& resource) {
  for (const int64_t number : active_) {
    for (const ResourceRef& use : jobs_[number].uses) {
      if (use.kind != resource.kind || use.name != resource.name) continue;
      return std::optional<std::string>(jobs_[number].row.job.name());
    }
  }
  return std::optional<std::string>();
}

absl::StatusOr<std::optional<std::string>> MemoryTables::FindPublisher(const ResourceRef& output) {
  for (const int64_t number : active_) {
    const JobRow& row = jobs_[number].row;
    if (row.output && row.output->kind == output.kind && row.output->name == output.name) {
      return std::optional<std::string>(row.job.name());
    }
  }
  return std::optional<std::string>();
}

absl::Status MemoryTables::InsertLease(const LeaseRow& row) {
  if (leases_.count(row.job) > 0) return absl::InternalError("the job is leased already");
  Set(leases_, row.job, std::optional<LeaseRow>(row));
  return absl::OkStatus();
}

absl::Status MemoryTables::DeleteLease(int64_t job) {
  Set(leases_, job, std::optional<LeaseRow>());
  return absl::OkStatus();
}

absl::StatusOr<std::optional<LeaseRow>> MemoryTables::FindLease(int64_t job) {
  const auto found = leases_.find(job);
  if (found == leases_.end()) return std::optional<LeaseRow>();
  return std::optional<LeaseRow>(found->second);
}

absl::StatusOr<std::vector<LeaseRow>> MemoryTables::ListLeases() {
  std::vector<LeaseRow> rows;
  for (const auto& [job, row] : leases_) rows.push_back(row);
  return rows;
}

absl::StatusOr<std::optional<RequestRow>> MemoryTables::FindRequest(absl::string_view verb,
                                                                    absl::string_view id) {
  const auto found = requests_.find({std::string(verb), std::string(id)});
  return found == requests_.end() ? std::nullopt : std::optional<RequestRow>(found->second);
}

absl::Status MemoryTables::PutRequest(const RequestRow& row) {
  Set(requests_, {row.verb, row.id}, std::optional<RequestRow>(row));
  return absl::OkStatus();
}

absl::StatusOr<int64_t> MemoryTables::DeleteRequestsBefore(absl::Duration running_time, int limit) {
  std::multimap<absl::Duration, std::pair<std::string, std::string>> old;
  for (const auto& [key, row] : requests_) {
    if (row.running_time < running_time) old.emplace(row.running_time, key);
  }
  if (old.size() > static_cast<size_t>(limit)) old.erase(std::next(old.begin(), limit), old.end());
  for (const auto& [age, key] : old) Set(requests_, key, std::optional<RequestRow>());
  return old.size();
}

absl::Status MemoryTables::InsertResource(const ResourceRow& row) {
  const ResourceKey key(row.ref.kind, row.ref.name);
  if (resources_.count(key) > 0) return absl::InternalError("the resource is there already");
  Set(resources_, key, std::optional<ResourceRow>(row));
  return absl::OkStatus();
}

absl::Status MemoryTables::DeleteResource(const ResourceRef& ref) {
  Set(resources_, {ref.kind, ref.name}, std::optional<ResourceRow>());
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ResourceRow>> MemoryTables::FindResource(const ResourceRef& ref) {
  const auto found = resources_.find({ref.kind, ref.name});
  if (found == resources_.end()) return std::optional<ResourceRow>();
  return std::optional<ResourceRow>(found->second);
}

absl::StatusOr<std::vector<ResourceRow>> MemoryTables::ListResources(ResourceKind kind,
                                                                     const AdapterFilter& filter,
                                                                     absl::string_view after,
                                                                     int limit) {
  std::vector<ResourceRow> rows;
  auto found = resources_.upper_bound({kind, std::string(after)});
  for (; found != resources_.end() && found->first.first == kind; ++found) {
    const ResourceRow& row = found->second;
    if (rows.size() >= static_cast<size_t>(limit)) break;
    if (filter.base_model && *filter.base_model != row.base_model) continue;
    if (filter.job && *filter.job != row.job) continue;
    rows.push_back(row);
  }
  return rows;
}

absl::StatusOr<int64_t> MemoryTables::CountResources(ResourceKind kind) {
  return std::count_if(resources_.begin(), resources_.end(),
                       [&](const auto& entry) { return entry.first.first == kind; });
}

absl::Status MemoryTables::PutFiles(HolderKind kind, absl::string_view holder,
                                    absl::Span<const v1::Artifact> files) {
  using Files = std::vector<v1::Artifact>;
  const std::pair<HolderKind, std::string> key(kind, holder);
  if (const auto found = files_.find(key); found != files_.end()) {
    for (const v1::Artifact& file : found->second) {
      Set(released_, file.sha256(), std::optional<bool>(true));
    }
  }
  Set(files_, key, files.empty() ? std::optional<Files>() : Files(files.begin(), files.end()));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::Artifact>> MemoryTables::ListFiles(HolderKind kind,
                                                                  absl::string_view holder) {
  const auto found = files_.find({kind, std::string(holder)});
  return found == files_.end() ? std::vector<v1::Artifact>() : found->second;
}

absl::StatusOr<bool> MemoryTables::HasBlob(absl::string_view sha256) {
  return std::any_of(files_.begin(), files_.end(), [&](const auto& entry) {
    const std::vector<v1::Artifact>& files = entry.second;
    return std::any_of(files.begin(), files.end(),
                       [&](const v1::Artifact& file) { return file.sha256() == sha256; });
  });
}

absl::StatusOr<std::vector<NamedBlob>> MemoryTables::ListNamedBlobs() {
  std::set<std::pair<std::string, int64_t>> named;
  for (const auto& [holder, files] : files_) {
    for (const v1::Artifact& file : files) named.emplace(file.sha256(), file.size_bytes());
  }
  std::vector<NamedBlob> blobs;
  for (const auto& [sha256, size_bytes] : named) blobs.push_back({sha256, size_bytes});
  return blobs;
}

absl::StatusOr<std::vector<Tables::Namer>> MemoryTables::ListNamers(absl::string_view sha256,
                                                                    int limit) {
  std::vector<Namer> namers;
  for (const auto& [holder, files] : files_) {
    for (const v1::Artifact& file : files) {
      if (file.sha256() != sha256) continue;
      namers.push_back({holder.first, holder.second, file.path()});
      if (namers.size() == static_cast<size_t>(limit)) return namers;
    }
  }
  return namers;
}

absl::StatusOr<std::vector<std::string>> MemoryTables::ListReleasedBlobs() {
  std::vector<std::string> blobs;
  for (const auto& [sha256, unused] : released_) blobs.push_back(sha256);
  return blobs;
}

absl::Status MemoryTables::ForgetReleasedBlob(absl::string_view sha256) {
  Set(released_, std::string(sha256), std::optional<bool>());
  return absl::OkStatus();
}

absl::StatusOr<IdentityRow> MemoryTables::ReadIdentity() { return identity_; }

absl::Status MemoryTables::UpdateRunningTime(absl::Duration running_time) {
  undo_.push_back([this, old = identity_] { identity_ = old; });
  identity_.running_time = std::max(identity_.running_time, running_time);
  return absl::OkStatus();
}

absl::Status MemoryTables::PutUnnamedBlob(const UnnamedBlobRow& row) {
  Set(unnamed_, row.sha256, std::optional<UnnamedBlobRow>(row));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<UnnamedBlobRow>> MemoryTables::ListUnnamedBlobs() {
  std::vector<UnnamedBlobRow> rows;
  for (const auto& [sha256, row] : unnamed_) rows.push_back(row);
  return rows;
}

absl::Status MemoryTables::DeleteUnnamedBlob(absl::string_view sha256) {
  Set(unnamed_, std::string(sha256), std::optional<UnnamedBlobRow>());
  return absl::OkStatus();
}

absl::StatusOr<StoreCounts> MemoryTables::Counts() {
  StoreCounts counts;
  std::map<std::pair<v1::JobState, std::string>, int64_t> jobs;
  for (const auto& [number, entry] : jobs_) {
    ++jobs[{entry.row.job.state(), entry.row.method}];
    counts.events += entry.events.size();
    if (entry.row.end_marked) ++counts.marked_ends;
  }
  for (const auto& [key, count] : jobs) counts.jobs.push_back({key.first, key.second, count});
  for (const QueueKey& key : queue_) {
    const absl::Time queued = FromTimestamp(jobs_[key.second].row.job.queue_time());
    counts.oldest_queued = std::min(counts.oldest_queued, queued);
    if (key == *queue_.begin()) counts.head_queued = queued;
  }
  counts.datasets = *CountResources(ResourceKind::kDataset);
  counts.models = *CountResources(ResourceKind::kModel);
  counts.adapters = *CountResources(ResourceKind::kAdapter);
  return counts;
}

}  // namespace graft
