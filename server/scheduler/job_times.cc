#include "server/scheduler/job_times.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/jobs/job_state.h"
#include "common/jobs/timestamps.h"

namespace graft {
namespace {

constexpr size_t kMaxRememberedWorks = 10'000;

// Wherever they stand in a spec.
bool TakesNoTime(const std::string& field) {
  static const auto* const names = new std::set<std::string>{
      "seed", "learning_rate", "output_name", "adapter", "adapter_sha256", "adapters_sha256"};
  return names->contains(field);
}

void ClearWhatTakesNoTime(google::protobuf::Message& message) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (TakesNoTime(field->name())) {
      reflection.ClearField(&message, field);
    } else if (!field->is_repeated() && field->message_type() != nullptr) {
      ClearWhatTakesNoTime(*reflection.MutableMessage(&message, field));
    }
  }
}

}  // namespace

std::string WorkOf(const v1::JobSpec& resolved) {
  v1::JobSpec work = resolved;
  ClearWhatTakesNoTime(work);
  if (work.has_evaluate()) {  // How many there are counts.
    for (std::string& adapter : *work.mutable_evaluate()->mutable_adapters()) adapter.clear();
  }
  return Sha256Hex(work.SerializeAsString());
}

std::optional<MeasuredTime> MeasuredTimeOf(const v1::Job& job) {
  if (job.state() != v1::JOB_STATE_SUCCEEDED || job.attempts_size() != 1) return std::nullopt;
  const v1::Attempt& attempt = job.attempts(0);
  const std::string& device =
      attempt.execution().device().empty() ? attempt.device() : attempt.execution().device();
  // One that went on from another's checkpoint did not do all of its work.
  if (device.empty() || attempt.resumed_from_step() > 0 || !attempt.has_end_time()) {
    return std::nullopt;
  }
  const absl::Duration time =
      FromTimestamp(attempt.end_time()) - FromTimestamp(attempt.start_time());
  if (time <= absl::ZeroDuration()) return std::nullopt;
  return MeasuredTime{device, time};
}

JobTimes::JobTimes(JobStore& store) : store_(store) {
  subscription_ = store.Subscribe("", [this](const JobChange& change) {
    if (!change.deleted && !IsFinal(change.state)) return;
    MutexLock lock(mutex_);
    works_.erase(change.job);
    if (change.deleted || change.state != v1::JOB_STATE_SUCCEEDED) return;
    ended_.push_back(change.job);
    if (ended_.size() > size_t{kMeasuredJobs}) ended_.pop_front();
  });
}

absl::Status JobTimes::ReadNewest() {
  {
    MutexLock lock(mutex_);
    if (read_newest_) return absl::OkStatus();
  }
  JobQuery query;
  query.filter.state = v1::JOB_STATE_SUCCEEDED;
  query.page_size = kMeasuredJobs;
  ASSIGN_OR_RETURN(const Page<v1::Job> page, store_.ListJobs(query));
  MutexLock lock(mutex_);
  if (std::exchange(read_newest_, true)) return absl::OkStatus();
  for (const v1::Job& job : page.items) {
    const bool known = std::find(ended_.begin(), ended_.end(), job.name()) != ended_.end();
    if (!known) ended_.push_front(job.name());
  }
  return absl::OkStatus();
}

absl::Status JobTimes::Refresh() {
  RETURN_IF_ERROR(ReadNewest());
  while (true) {
    std::string name;
    {
      MutexLock lock(mutex_);
      if (ended_.empty()) return absl::OkStatus();
      name = ended_.front();
      ended_.pop_front();
    }
    const absl::StatusOr<v1::Job> job = store_.GetJob(name);
    if (absl::IsNotFound(job.status())) continue;
    if (!job.ok()) {
      MutexLock lock(mutex_);
      ended_.push_front(name);
      return job.status();
    }
    Add(*job);
  }
}

void JobTimes::Add(const v1::Job& job) {
  const std::optional<MeasuredTime> measured = MeasuredTimeOf(job);
  if (!measured) return;
  Kind kind = {WorkOf(job.resolved_spec()), measured->device};
  MutexLock lock(mutex_);
  times_[kind].push_back(measured->time);
  order_.push_back(std::move(kind));
  const auto forget_first_of = [&](const Kind& old) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = times_.find(old);
    found->second.pop_front();
    if (found->second.empty()) times_.erase(found);
  };
  if (order_.size() <= size_t{kMeasuredJobs}) return;
  forget_first_of(order_.front());
  order_.pop_front();
}

absl::StatusOr<std::string> JobTimes::WorkOfJob(const std::string& name) {
  {
    MutexLock lock(mutex_);
    const auto found = works_.find(name);
    if (found != works_.end()) return found->second;
  }
  ASSIGN_OR_RETURN(const v1::Job job, store_.GetJob(name));
  std::string work = WorkOf(job.resolved_spec());
  if (job.done()) return work;
  MutexLock lock(mutex_);
  // One that ended meanwhile stays; they are no more than a memory of what can be read again.
  if (works_.size() >= kMaxRememberedWorks) works_.clear();
  return works_[name] = std::move(work);
}

std::optional<absl::Duration> JobTimes::Typical(const std::string& work,
                                                const std::string& device) const {
  MutexLock lock(mutex_);
  const auto found = times_.find({work, device});
  if (found == times_.end()) return std::nullopt;
  const std::deque<absl::Duration>& all = found->second;
  std::vector<absl::Duration> last(all.end() - std::min(all.size(), kMeasuredAlike), all.end());
  std::nth_element(last.begin(), last.begin() + last.size() / 2, last.end());
  return last[last.size() / 2];
}

}  // namespace graft
