// What people do with jobs.

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/errors/status_details.h"
#include "tests/server/simulation/model.h"
#include "tests/server/simulation/text.h"

namespace graft::simulation {
namespace {

Answer NotFound() { return Refusal(absl::StatusCode::kNotFound); }
Answer WrongState() { return Refusal(absl::StatusCode::kFailedPrecondition, kReasonWrongState); }

}  // namespace

ModelJob* Model::Find(const std::string& name) {
  touched_.insert(name);
  const auto found = jobs_.find(name);
  return found == jobs_.end() ? nullptr : &found->second;
}

Answer Model::Once(const std::string& verb, const RequestKey& key,
                   const std::function<Answer()>& act) {
  if (key.id.empty()) return act();
  const auto kept = answers_.find({verb, key.id});
  if (kept != answers_.end()) {
    if (kept->second.body == key.body_sha256) return kept->second.answer;
    return Refusal(absl::StatusCode::kAlreadyExists, kReasonRequestIdReused);
  }
  const Answer answer = act();
  if (answer.ok()) answers_[{verb, key.id}] = {key.body_sha256, answer, now()};
  return answer;
}

Answer Model::ChangeOnce(const std::string& verb, const RequestKey& key, const std::string& name,
                         const std::function<Answer(ModelJob&)>& change) {
  return Once(verb, key, [&] {
    ModelJob* job = Find(name);
    if (job == nullptr) return NotFound();
    Answer answer = change(*job);
    if (answer.ok()) answer.value = Text(*job);
    return answer;
  });
}

// The queue has room, and nobody has the output's name, nor will have it.
std::optional<Answer> Model::RefuseInsertion(const std::string& output) const {
  int64_t queued = 0;
  bool taken = adapters_.contains(output);
  for (const auto& [name, job] : jobs_) {
    queued += job.state == v1::JOB_STATE_QUEUED;
    taken |= !output.empty() && job.output == output && !IsDoneState(job.state);
  }
  if (queued >= options_.max_queued_jobs) {
    return Refusal(absl::StatusCode::kResourceExhausted, kReasonQueueFull);
  }
  if (taken) return Refusal(absl::StatusCode::kAlreadyExists, kReasonNameTaken);
  return std::nullopt;
}

Answer Model::Submit(const Submission& submission, const RequestKey& key, const std::string& name) {
  return Once("CreateJob", key, [&] {
    if (submission.deadline && *submission.deadline <= clock_.Now()) {
      return Refusal(absl::StatusCode::kInvalidArgument, kReasonInvalidSpec);
    }
    if (const auto refused = RefuseInsertion(submission.output)) return *refused;
    ModelJob job;
    job.name = name;
    job.number = ++submitted_;
    job.submission = submission;
    job.needs = submission.needs;
    if (!submission.evaluate) {
      job.output = submission.output.empty() ? std::string(absl::StripPrefix(name, "jobs/"))
                                             : submission.output;
    }
    touched_.insert(name);
    SetState(job, v1::JOB_STATE_QUEUED);
    const std::string text = Text(jobs_[name] = std::move(job));
    return Answer{.value = text};
  });
}

// A new job like the other, that goes on from its newest checkpoint.
Answer Model::Retry(const std::string& failed, bool from_scratch, const RequestKey& key,
                    const std::string& name) {
  return Once("RetryJob", key, [&] {
    const ModelJob* other = Find(failed);
    if (other == nullptr) return NotFound();
    if (other->state != v1::JOB_STATE_FAILED && other->state != v1::JOB_STATE_CANCELLED) {
      return WrongState();
    }
    if (const auto refused = RefuseInsertion(other->output)) return *refused;
    ModelJob job;
    job.name = name;
    job.number = ++submitted_;
    job.submission = other->submission;
    job.submission.deadline.reset();
    job.output = other->output;
    job.retry_of = failed;
    if (!from_scratch && !other->checkpoints.empty()) {
      const auto& [step, checkpoint] = *other->checkpoints.begin();
      job.checkpoints[step] = {.files = checkpoint.files, .needs = checkpoint.needs};
      job.step = job.saved_step = step;
    }
    job.needs = NeedsNow(job);
    touched_.insert(name);
    SetState(job, v1::JOB_STATE_QUEUED);
    const std::string text = Text(jobs_[name] = std::move(job));
    return Answer{.value = text};
  });
}

Answer Model::Cancel(const std::string& name, const RequestKey& key) {
  return ChangeOnce("CancelJob", key, name, [&](ModelJob& job) {
    CancelJob(job, /*saves=*/false);
    return Answer();
  });
}

Answer Model::SaveAndCancel(const std::string& name, const RequestKey& key) {
  return ChangeOnce("CancelJob", key, name, [&](ModelJob& job) {
    CancelJob(job, /*saves=*/true);
    return Answer();
  });
}

// What was to save first, need not any more after a plain cancel.
void Model::CancelJob(ModelJob& job, bool saves) {
  if (job.state == v1::JOB_STATE_QUEUED || job.state == v1::JOB_STATE_PAUSED) {
    SetState(job, v1::JOB_STATE_CANCELLED);
  } else if (job.state == v1::JOB_STATE_RUNNING || job.state == v1::JOB_STATE_PAUSING) {
    SetState(job, v1::JOB_STATE_CANCELLING);
    job.cancel_saves = saves;
  } else if (!saves) {
    job.cancel_saves = false;
  }
}

Answer Model::Pause(const std::string& name, const RequestKey& key) {
  return ChangeOnce("PauseJob", key, name, [&](ModelJob& job) {
    if (job.state == v1::JOB_STATE_QUEUED) {
      SetState(job, v1::JOB_STATE_PAUSED);
    } else if (job.state == v1::JOB_STATE_RUNNING) {
      SetState(job, v1::JOB_STATE_PAUSING);
    } else {
      return WrongState();
    }
    return Answer();
  });
}

Answer Model::Resume(const std::string& name, const RequestKey& key) {
  return ChangeOnce("ResumeJob", key, name, [&](ModelJob& job) {
    if (job.state != v1::JOB_STATE_PAUSED) return WrongState();
    if (const auto refused = RefuseInsertion("")) return *refused;
    ForgetFailures(job);
    SetState(job, v1::JOB_STATE_QUEUED);
    return Answer();
  });
}

Answer Model::AskForCheckpoint(const std::string& name, const RequestKey& key) {
  return ChangeOnce("CheckpointJob", key, name, [&](ModelJob& job) {
    if (job.state != v1::JOB_STATE_RUNNING || job.submission.evaluate) return WrongState();
    if (job.requested_step == 0) job.requested_step = job.step + 1;
    return Answer();
  });
}

Answer Model::Update(const std::string& name, const JobUpdate& update, const RequestKey& key) {
  return ChangeOnce("UpdateJob", key, name, [&](ModelJob& job) {
    if (!update.etag.empty()) {  // Only such are given as no job has any more.
      return Refusal(absl::StatusCode::kAborted, kReasonVersionChanged);
    }
    if (IsDoneState(job.state)) return WrongState();
    const bool has_deadline = update.deadline && *update.deadline < absl::InfiniteFuture();
    if (has_deadline && *update.deadline <= clock_.Now()) {
      return Refusal(absl::StatusCode::kInvalidArgument, kReasonInvalidSpec);
    }
    if (update.priority) job.submission.priority = *update.priority;
    if (update.deadline) job.submission.deadline.reset();
    if (has_deadline) job.submission.deadline = update.deadline;
    if (update.allow_migration) {
      job.submission.allow_migration = *update.allow_migration;
      job.needs = NeedsNow(job);
    }
    return Answer();
  });
}

Answer Model::Delete(const std::string& name, bool delete_adapter, const RequestKey& key) {
  return Once("DeleteJob", key, [&] {
    const ModelJob* job = Find(name);
    if (job == nullptr) return NotFound();
    if (!IsDoneState(job->state)) {
      return Refusal(absl::StatusCode::kFailedPrecondition, kReasonNotDone);
    }
    return Answer{.value = Text(DeletedJob{name, Remove(name, delete_adapter)})};
  });
}

std::string Model::Remove(const std::string& name, bool delete_adapter) {
  const ModelJob& job = jobs_[name];
  const bool published = job.state == v1::JOB_STATE_SUCCEEDED;
  const std::string output = job.output;
  jobs_.erase(name);
  touched_.insert(name);
  placement_.Forget(name);
  return delete_adapter && published && adapters_.erase(output) > 0 ? output : "";
}

// Newest first, kAtOnce in each transaction; the last of them finds fewer. One that was broken off
// goes on when it is asked for again.
Answer Model::Purge(const JobPurge& purge, bool broken_off) {
  constexpr size_t kAtOnce = 20;
  std::map<int64_t, std::string, std::greater<>> found;
  for (const auto& [name, job] : jobs_) {
    if (!IsDoneState(job.state)) continue;
    if (!purge.filter.state || purge.filter.state == job.state) found[job.number] = name;
  }
  const std::pair<std::string, std::string> begun = {"PurgeJobs begun", purge.request.id};
  std::vector<std::string> purged;
  if (const auto kept = answers_.find(begun); purge.force && kept != answers_.end()) {
    if (kept->second.body != purge.request.body_sha256) {
      return Refusal(absl::StatusCode::kAlreadyExists, kReasonRequestIdReused);
    }
    purged = kept->second.purged;
  }
  const bool over = !purge.force || !broken_off || found.size() < kAtOnce;
  const size_t done_before = purged.size();
  const auto act = [&] {
    for (const auto& [number, name] : found) {
      if (!over && purged.size() - done_before == kAtOnce) break;
      purged.push_back(name);
      if (purge.force) Remove(name, purge.delete_adapters);
    }
    return Answer{.value = PurgeText(static_cast<int64_t>(purged.size()), purged)};
  };
  if (!purge.force) return act();
  if (over) return Once("PurgeJobs", purge.request, act);
  const Answer answer = act();
  if (!purge.request.id.empty()) {
    answers_[begun] = {purge.request.body_sha256, answer, now(), purged};
  }
  return answer;
}

Answer Model::Pin(const std::string& name, int64_t step, bool pinned) {
  ModelJob* job = Find(name);
  if (job == nullptr || !job->checkpoints.contains(step)) return NotFound();
  ModelCheckpoint& checkpoint = job->checkpoints[step];
  if (checkpoint.pinned != pinned) {
    checkpoint.pinned = pinned;
    checkpoint.kept_since.reset();
    if (!pinned && IsDoneState(job->state)) checkpoint.kept_since = now();
  }
  return {.value = Text(step, checkpoint)};
}

}  // namespace graft::simulation
