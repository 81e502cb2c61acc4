#include "server/scheduler/queue_view.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "common/jobs/job_state.h"
#include "common/jobs/names.h"
#include "server/store/needs.h"
#include "server/store/page_token.h"

namespace graft {
namespace {

constexpr char kQuery[] = "queue";

absl::Status NotQueued(const v1::Job& job) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        job.name(), " is ", StateName(job.state()), ": it waits in no queue")),
                    kReasonWrongState);
}

absl::StatusOr<std::optional<QueuePlace>> ReadPlace(const std::string& token) {
  if (token.empty()) return std::optional<QueuePlace>();
  ASSIGN_OR_RETURN(const auto parts, ReadPageToken(kQuery, token, 2));
  QueuePlace place;
  if (!absl::SimpleAtoi(parts[0], &place.priority) || !absl::SimpleAtoi(parts[1], &place.number)) {
    return FieldViolation("page_token", "is broken");
  }
  return std::optional<QueuePlace>(place);
}

}  // namespace

absl::StatusOr<QueueMoment> QueueView::Look() {
  RETURN_IF_ERROR(times_.Refresh());
  QueueMoment moment;
  ASSIGN_OR_RETURN(moment.queue, store_.ReadQueue(std::nullopt, kQueueHead));
  ASSIGN_OR_RETURN(moment.held, store_.HeldJobs());
  moment.workforce = scheduler_.LookAtWorkforce();
  moment.boottime = clock_.Boottime();
  moment.date = clock_.Now();
  return moment;
}

absl::StatusOr<QueuePicture> QueueView::Picture(int64_t* total) {
  ASSIGN_OR_RETURN(QueueMoment moment, Look());
  if (total != nullptr) *total = moment.queue.total;
  return QueuePicture::Make(std::move(moment), times_);
}

absl::StatusOr<v1::GetQueueResponse> QueueView::ReadOne(const std::string& name) {
  v1::GetQueueResponse response;
  int64_t total = 0;
  ASSIGN_OR_RETURN(const QueuePicture picture, Picture(&total));
  response.set_total(total);
  const auto answer = [&](const WaitingJob& job, size_t position) {
    *response.add_jobs() = picture.Entry(job, position);
    picture.AddDetails(job, position, *response.mutable_jobs(0));
    return response;
  };
  for (size_t i = 0; i < picture.size(); ++i) {
    if (picture.job(i).queued.name == name) return answer(picture.job(i), i);
  }
  ASSIGN_OR_RETURN(const JobWithNeeds found, store_.GetJobWithNeeds(name));
  if (found.job.state() != v1::JOB_STATE_QUEUED) return NotQueued(found.job);
  const QueuePlace before = {found.job.priority(), found.number - 1};
  ASSIGN_OR_RETURN(const QueuePart part, store_.ReadQueue(before, 1));
  if (part.jobs.empty() || part.jobs[0].queued.name != name) {
    return absl::AbortedError(absl::StrCat(name, " left its place in the queue meanwhile"));
  }
  return answer(part.jobs[0], static_cast<size_t>(part.before));
}

absl::StatusOr<v1::GetQueueResponse> QueueView::Read(const v1::GetQueueRequest& request) {
  if (!request.name().empty()) {
    ASSIGN_OR_RETURN(const std::string id, ParseJobId(request.name()));
    return ReadOne(JobName(id));
  }
  ASSIGN_OR_RETURN(const int page_size, EffectivePageSize(request.page_size()));
  ASSIGN_OR_RETURN(const std::optional<QueuePlace> after, ReadPlace(request.page_token()));
  ASSIGN_OR_RETURN(const QueuePicture picture, Picture());
  ASSIGN_OR_RETURN(const QueuePart part, store_.ReadQueue(after, page_size + 1));
  v1::GetQueueResponse response;
  response.set_total(part.total);
  PageBounds bounds(page_size);
  for (size_t i = 0; i < part.jobs.size(); ++i) {
    const WaitingJob& job = part.jobs[i];
    v1::QueueEntry entry = picture.Entry(job, static_cast<size_t>(part.before) + i);
    if (!bounds.Add(entry.ByteSizeLong())) {
      const QueuedJob& last = part.jobs[i - 1].queued;
      response.set_next_page_token(
          MakePageToken(kQuery, {absl::StrCat(last.priority), absl::StrCat(last.number)}));
      break;
    }
    *response.add_jobs() = std::move(entry);
  }
  return response;
}

absl::StatusOr<v1::QueueEntry> QueueView::Glance(const std::string& job) {
  std::shared_ptr<const Glances> glances;
  {
    MutexLock lock(mutex_);
    if (glances_ != nullptr && clock_.Boottime() - glanced_ < kGlanceAge) glances = glances_;
  }
  if (glances == nullptr) {
    ASSIGN_OR_RETURN(const QueuePicture picture, Picture());
    auto fresh = std::make_shared<Glances>();
    for (size_t i = 0; i < picture.size(); ++i) {
      (*fresh)[picture.job(i).queued.name] = picture.Entry(picture.job(i), i);
    }
    glances = std::move(fresh);
    MutexLock lock(mutex_);
    glances_ = glances;
    glanced_ = clock_.Boottime();
  }
  const auto found = glances->find(job);
  return found == glances->end() ? v1::QueueEntry() : found->second;
}

absl::StatusOr<v1::QueueEntry> QueueView::Foresee(const v1::JobSpec& resolved, int32_t priority) {
  WaitingJob job;
  job.queued.priority = priority;
  job.queued.number = std::numeric_limits<int64_t>::max() - 1;  // Behind all of its priority.
  job.queued.needs = NeedsOf(resolved);
  ASSIGN_OR_RETURN(QueueMoment moment, Look());
  std::vector<WaitingJob>& jobs = moment.queue.jobs;
  const auto behind = std::find_if(jobs.begin(), jobs.end(), [&](const WaitingJob& other) {
    return other.queued.priority < priority;
  });
  auto position = static_cast<size_t>(behind - jobs.begin());
  if (behind == jobs.end() && moment.queue.total > static_cast<int64_t>(jobs.size())) {
    const QueuePlace last = {priority, job.queued.number};
    ASSIGN_OR_RETURN(const QueuePart part, store_.ReadQueue(last, 1));
    position = static_cast<size_t>(part.before);
  } else {
    jobs.insert(behind, job);
  }
  ASSIGN_OR_RETURN(const QueuePicture picture, QueuePicture::Make(std::move(moment), times_));
  return picture.Entry(job, position);
}

}  // namespace graft
