#include "server/scheduler/queue_picture.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr size_t kWorkersInText = 3;

std::string SecondsText(absl::Duration duration) {
  return absl::StrCat(static_cast<int64_t>(std::ceil(absl::ToDoubleSeconds(duration))), " s");
}

std::string Jobs(int64_t count) {
  return count == 1 ? "1 job goes first" : absl::StrCat(count, " jobs go first");
}

// What is left of a run at `date`, by its last report.
std::optional<absl::Duration> LeftOf(const HeldJobView& job, absl::Time date) {
  // One that is stopped on the way ends at another time than it said.
  if (job.eta_seconds <= 0 || job.state != v1::JOB_STATE_RUNNING || !job.preempted_by.empty()) {
    return std::nullopt;
  }
  const absl::Duration since = std::max(date - job.update_time, absl::ZeroDuration());
  return std::max(absl::Seconds(job.eta_seconds) - since, absl::ZeroDuration());
}

}  // namespace

absl::StatusOr<QueuePicture> QueuePicture::Make(QueueMoment moment, JobTimes& times) {
  QueuePicture picture(std::move(moment));
  picture.CountSlots();
  picture.FindKinds();
  RETURN_IF_ERROR(picture.Forecast(times));
  return picture;
}

// By leases, as what a worker says of itself comes later; but a text takes a slot, too.
void QueuePicture::CountSlots() {
  std::map<std::string, int> held;
  for (const HeldJobView& job : moment_.held) ++held[job.worker];
  for (const Workforce::Worker& worker : workers()) {
    const PresentWorker& present = worker.present;
    const int slots = std::max(0, present.slots) - held[present.id];
    free_slots_.push_back(std::max(0, std::min(present.free_slots, slots)));
  }
}

QueuePicture::Fits QueuePicture::MakeFits(const QueuedJob& job) const {
  Fits fits;
  for (const Workforce::Worker& worker : workers()) {
    Fit& fit = fits.emplace_back();
    if (worker.standing.asked) fit.lacks = Lacks(worker.standing.abilities, job.needs);
    fit.handed_back = moment_.workforce.handed_back.contains({job.name, worker.present.id});
  }
  return fits;
}

bool QueuePicture::IsAt(const WaitingJob& waiting, size_t position) const {
  return position < size() && job(position).queued.number == waiting.queued.number;
}

QueuePicture::Fits QueuePicture::FitsOf(const WaitingJob& waiting, size_t position) const {
  return IsAt(waiting, position) ? kinds_[kind_of_[position]] : MakeFits(waiting.queued);
}

bool QueuePicture::Compete(const Fits& a, const Fits& b) {
  for (size_t w = 0; w < a.size(); ++w) {
    if (a[w].may() && b[w].may()) return true;
  }
  return false;
}

void QueuePicture::FindKinds() {
  std::set<std::string> handed_back;
  for (const auto& [job, worker] : moment_.workforce.handed_back) handed_back.insert(job);
  std::map<std::tuple<std::string, std::string, std::string, std::string, std::string>, size_t>
      kinds;
  std::vector<int64_t> ready;  // Jobs so far, by kind.
  for (const WaitingJob& waiting : moment_.queue.jobs) {
    const QueuedJob& job = waiting.queued;
    const JobNeeds& needs = job.needs;
    const auto [kind, is_new] =
        kinds.try_emplace({needs.device, needs.cpu_capability, needs.precision, needs.methods,
                           handed_back.contains(job.name) ? job.name : ""},
                          kinds_.size());
    if (is_new) {
      kinds_.push_back(MakeFits(job));
      ready.push_back(0);
    }
    kind_of_.push_back(kind->second);
    int64_t before = 0;
    for (size_t other = 0; other < kinds_.size(); ++other) {
      if (ready[other] > 0 && Compete(kinds_[kind->second], kinds_[other])) before += ready[other];
    }
    before_.push_back(before);
    if (IsReady(waiting)) ++ready[kind->second];
  }
}

int64_t QueuePicture::CountBefore(const WaitingJob& waiting, const Fits& fits,
                                  size_t position) const {
  if (IsAt(waiting, position)) return before_[position];
  const size_t known = std::min(position, size());
  auto before = static_cast<int64_t>(position - known);
  for (size_t i = 0; i < known; ++i) {
    if (IsReady(job(i)) && Compete(fits, kinds_[kind_of_[i]])) ++before;
  }
  return before;
}

std::vector<ForecastSlot> QueuePicture::Slots() const {
  std::vector<ForecastSlot> slots;
  // A worker says itself how many it has, which may be anything.
  const size_t most = std::max<size_t>(1, kForecastSlots / std::max<size_t>(1, workers().size()));
  for (size_t w = 0; w < workers().size(); ++w) {
    const absl::Duration set_aside = workers()[w].standing.set_aside;
    const auto free = std::min(most, static_cast<size_t>(free_slots_[w]));
    slots.insert(slots.end(), free, {w, set_aside});
    size_t taken = 0;
    for (const HeldJobView& held : moment_.held) {
      if (held.worker != workers()[w].present.id || taken == most) continue;
      ++taken;
      const std::optional<absl::Duration> left = LeftOf(held, moment_.date);
      slots.push_back({w, left ? std::optional(std::max(*left, set_aside)) : std::nullopt});
    }
  }
  return slots;
}

ForecastJob QueuePicture::Ahead(const WaitingJob& waiting, const Fits& fits,
                                const absl::StatusOr<std::string>& work,
                                const JobTimes& times) const {
  ForecastJob job;
  job.not_before = std::max(waiting.queued.not_before - moment_.boottime, absl::ZeroDuration());
  double left = 1;  // Of the work, for a job that goes on from a checkpoint.
  if (waiting.job.total_steps() > 0) {
    const int64_t done = std::min(waiting.job.step(), waiting.job.total_steps());
    left -= static_cast<double>(done) / static_cast<double>(waiting.job.total_steps());
  }
  for (size_t w = 0; w < workers().size(); ++w) {
    std::optional<ForecastJob::Run>& run = job.workers.emplace_back();
    if (!fits[w].may()) continue;
    run.emplace();
    const std::optional<Abilities>& abilities = workers()[w].standing.abilities;
    if (!work.ok() || !abilities) continue;
    for (const std::string& device : abilities->devices) {
      const std::optional<absl::Duration> takes = times.Typical(*work, device);
      if (takes && !run->takes) run->takes = left * *takes;
    }
  }
  return job;
}

absl::Status QueuePicture::Forecast(JobTimes& times) {
  std::vector<ForecastJob> jobs;
  for (size_t i = 0; i < std::min(kForecastJobs, size()); ++i) {
    const std::string& name = job(i).queued.name;
    const absl::StatusOr<std::string> work =
        name.empty() ? absl::NotFoundError("it is not there yet") : times.WorkOfJob(name);
    if (!absl::IsNotFound(work.status())) RETURN_IF_ERROR(work.status());
    jobs.push_back(Ahead(job(i), kinds_[kind_of_[i]], work, times));
  }
  starts_ = ForecastStarts(Slots(), jobs);
  return absl::OkStatus();
}

void QueuePicture::ExplainWithoutWorker(const WaitingJob& job, const Fits& fits,
                                        v1::QueueEntry& entry) const {
  std::vector<std::string> unable, unwilling;
  for (size_t w = 0; w < fits.size(); ++w) {
    const Workforce::Worker& worker = workers()[w];
    const std::string& id = worker.present.id;
    if (!fits[w].able()) {
      unable.push_back(absl::StrCat(id, " lacks ", absl::StrJoin(fits[w].lacks, ", ")));
    } else if (fits[w].handed_back) {
      unwilling.push_back(absl::StrCat(id, " handed it back"));
    } else {
      unwilling.push_back(absl::StrCat(id, " is set aside for ",
                                       SecondsText(worker.standing.set_aside),
                                       ", since its attempts came to nothing"));
    }
  }
  std::vector<std::string>& named = unwilling.empty() ? unable : unwilling;
  const size_t more = named.size() - std::min(named.size(), kWorkersInText);
  named.resize(named.size() - more);
  std::string text = absl::StrJoin(named, "; ");
  if (more > 0) absl::StrAppend(&text, "; and ", more, " more");
  if (unwilling.empty()) {
    entry.set_reason(v1::WAIT_REASON_NO_FITTING_WORKER);
    entry.set_waits(absl::StrCat("no worker that is connected can do it, as it needs ",
                                 NeedsText(job.queued.needs), ": ", text));
  } else {
    entry.set_reason(v1::WAIT_REASON_SET_ASIDE);
    entry.set_waits(absl::StrCat("nobody who can do it takes it now: ", text));
  }
}

void QueuePicture::Explain(const WaitingJob& job, size_t position, v1::QueueEntry& entry) const {
  if (entry.back_off_seconds() > 0) {
    entry.set_reason(v1::WAIT_REASON_BACK_OFF);
    entry.set_waits(absl::StrCat(
        "it is offered again in ", SecondsText(absl::Seconds(entry.back_off_seconds())),
        job.job.state_reason().empty() ? "" : ": ", job.job.state_reason()));
    return;
  }
  if (workers().empty()) {
    entry.set_reason(v1::WAIT_REASON_NO_WORKER);
    entry.set_waits("no worker is connected");
    return;
  }
  const Fits fits = FitsOf(job, position);
  int64_t willing = 0;
  int64_t free = 0;
  for (size_t w = 0; w < fits.size(); ++w) {
    const bool set_aside = workers()[w].standing.set_aside > absl::ZeroDuration();
    if (!fits[w].may() || set_aside) continue;
    ++willing;
    free += free_slots_[w];
  }
  if (willing == 0) return ExplainWithoutWorker(job, fits, entry);
  const int64_t before = CountBefore(job, fits, position);
  if (free == 0) {
    entry.set_reason(v1::WAIT_REASON_BUSY);
    entry.set_waits(absl::StrCat(
        willing == 1 ? "the only worker that can do it is busy"
                     : absl::StrCat("all ", willing, " workers that can do it are busy"),
        before == 0 ? "" : "; ", before == 0 ? "" : Jobs(before)));
  } else if (before >= free) {
    entry.set_reason(v1::WAIT_REASON_BEHIND_OTHERS);
    entry.set_waits(Jobs(before));
  } else {
    entry.set_reason(v1::WAIT_REASON_STARTING);
    entry.set_waits("a worker that can do it is free and takes it within seconds");
  }
}

v1::QueueEntry QueuePicture::Entry(const WaitingJob& job, size_t position) const {
  v1::QueueEntry entry;
  entry.set_name(job.queued.name);
  entry.set_display_name(job.job.display_name());
  entry.set_method(job.job.method());
  entry.set_priority(job.queued.priority);
  entry.set_position(static_cast<int64_t>(position) + 1);
  *entry.mutable_queue_time() = job.job.queue_time();
  const absl::Duration back_off = job.queued.not_before - moment_.boottime;
  if (back_off > absl::ZeroDuration()) {
    entry.set_back_off_seconds(absl::ToDoubleSeconds(back_off));
  }
  if (IsAt(job, position) && position < starts_.size() && starts_[position]) {
    entry.set_expected_start_seconds(absl::ToDoubleSeconds(*starts_[position]));
  }
  Explain(job, position, entry);
  return entry;
}

void QueuePicture::AddDetails(const WaitingJob& job, size_t position, v1::QueueEntry& entry) const {
  const Fits fits = FitsOf(job, position);
  const auto add_before = [&](const std::string& name) {
    if (static_cast<size_t>(entry.runs_before_size()) < kMaxQueueDetails) {
      entry.add_runs_before(name);
    }
  };
  for (size_t w = 0; w < fits.size(); ++w) {
    if (!fits[w].may()) continue;
    for (const HeldJobView& held : moment_.held) {
      if (held.worker == workers()[w].present.id) add_before(held.name);
    }
  }
  for (size_t i = 0; i < std::min(position, size()); ++i) {
    if (Compete(fits, kinds_[kind_of_[i]])) add_before(moment_.queue.jobs[i].queued.name);
  }
  for (size_t w = 0; w < std::min(workers().size(), kMaxQueueDetails); ++w) {
    v1::WorkerFit* fit = entry.add_workers();
    fit->set_worker(workers()[w].present.id);
    for (const std::string& lack : fits[w].lacks) fit->add_lacks(lack);
    fit->set_slots(workers()[w].present.slots);
    fit->set_free_slots(free_slots_[w]);
    fit->set_set_aside_seconds(absl::ToDoubleSeconds(workers()[w].standing.set_aside));
    fit->set_handed_back(fits[w].handed_back);
  }
}

}  // namespace graft
