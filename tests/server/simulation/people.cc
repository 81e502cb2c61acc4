#include "common/jobs/continuation.h"
#include "common/jobs/timestamps.h"
#include "tests/server/simulation/simulation.h"

namespace graft::simulation {
namespace {

NewJob ToNewJob(const Submission& submission, const RequestKey& request) {
  NewJob made = StoreFixture::LoraJob(submission.priority);
  v1::Job& job = made.job;
  v1::FineTuneSpec& train = *job.mutable_resolved_spec()->mutable_fine_tune();
  train.set_output_name(submission.output);
  train.mutable_training()->mutable_checkpoint()->set_keep_last(submission.keep_last);
  if (!submission.needs.methods.empty()) train.mutable_method()->mutable_prefix_tuning();
  const bool bf16 = submission.needs.precision == "bf16";
  if (bf16) train.mutable_training()->set_precision(v1::PRECISION_BF16);
  if (submission.evaluate) {
    v1::EvaluateSpec evaluate;
    evaluate.set_base_model(train.base_model());
    evaluate.set_base_model_sha256(train.base_model_sha256());
    *evaluate.mutable_data() = train.data();
    if (bf16) evaluate.set_precision(v1::PRECISION_BF16);
    *job.mutable_resolved_spec()->mutable_evaluate() = evaluate;
  }
  if (submission.deadline) *job.mutable_deadline() = ToTimestamp(*submission.deadline);
  job.set_allow_migration(submission.allow_migration);
  made.request = request;
  return made;
}

Submission AnySubmission(SeededRandom& random, absl::Time now) {
  Submission made;
  made.priority = random.Between(-2, 2);
  if (random.Percent(15)) made.deadline = now + absl::Seconds(random.Between(-5, 900));
  made.allow_migration = random.Percent(15);
  made.evaluate = random.Percent(20);
  if (!made.evaluate) made.keep_last = random.Between(1, 3);
  if (random.Percent(20)) made.needs.precision = "bf16";
  if (!made.evaluate && random.Percent(15)) made.needs.methods = "prefix_tuning";
  if (!made.evaluate && random.Percent(20)) made.output = absl::StrCat("out-", random.Below(3));
  return made;
}

}  // namespace

std::string Simulation::AnyJob() {
  // Among them one that is not there yet, or was never made.
  const int made = std::stoi(server_.last_job().substr(std::string("jobs/j").size()));
  return absl::StrCat("jobs/j", random_.Between(std::max(1, made - 15), made + 1));
}

RequestKey Simulation::NewRequest(const std::string& body) {
  if (random_.Percent(50)) return {};
  // Now and then somebody uses an id again, for something else.
  const bool again = requests_ > 0 && random_.Percent(5);
  return {absl::StrCat("r", again ? random_.Between(1, requests_) : ++requests_), body};
}

// Does it, and remembers it to be repeated.
void Simulation::Ask(const std::function<void()>& call) {
  asked_.push_back(call);
  call();
}

void Simulation::DoSomethingToJobs() {
  const int choice = random_.Below(100);
  if (choice < 32) return Submit();
  if (choice < 64) return ChangeJob();
  if (choice < 73) return Retry();
  if (choice < 81) return Update();
  if (choice < 86) return Delete();
  if (choice < 88) return Purge();
  if (choice < 92) return Pin();
  if (!asked_.empty()) random_.Pick(asked_)();
}

void Simulation::Submit() {
  const Submission submission = AnySubmission(random_, server_.clock().Now());
  const RequestKey request = NewRequest(absl::StrCat("submission ", ++requests_));
  Ask([=, this] {
    Do(
        absl::StrCat("submit, priority ", submission.priority, " ", Text(submission.needs),
                     submission.evaluate ? " evaluate " : " ", submission.output, " ", request.id),
        [&] { return server_.store().InsertJob(ToNewJob(submission, request)); },
        [&] { return model_.Submit(submission, request, server_.last_job()); });
  });
}

void Simulation::Retry() {
  const std::string job = AnyJob();
  const bool from_scratch = random_.Percent(25);
  const RequestKey request = NewRequest(absl::StrCat(job, from_scratch));
  Ask([=, this] {
    Do(
        absl::StrCat("retry ", job, from_scratch ? " from scratch " : " ", request.id),
        [&] { return server_.store().RetryJob(job, from_scratch, request); },
        [&] { return model_.Retry(job, from_scratch, request, server_.last_job()); });
  });
}

void Simulation::ChangeJob() {
  struct Verb {
    const char* name;
    absl::StatusOr<v1::Job> (JobStore::*call)(absl::string_view, const RequestKey&);
    Answer (Model::*predict)(const std::string&, const RequestKey&);
  };
  static const std::vector<Verb> kVerbs = {
      {"cancel", &JobStore::CancelJob, &Model::Cancel},
      {"save and cancel", &JobStore::SaveAndCancelJob, &Model::SaveAndCancel},
      {"pause", &JobStore::PauseJob, &Model::Pause},
      {"resume", &JobStore::ResumeJob, &Model::Resume},
      {"ask for a checkpoint of", &JobStore::CheckpointJob, &Model::AskForCheckpoint}};
  const Verb verb = random_.Pick(kVerbs);
  const std::string job = AnyJob();
  const RequestKey request = NewRequest(absl::StrCat(verb.name, job));
  Ask([=, this] {
    Do(
        absl::StrCat(verb.name, " ", job, " ", request.id),
        [&] { return (server_.store().*verb.call)(job, request); },
        [&] { return (model_.*verb.predict)(job, request); });
  });
}

void Simulation::Update() {
  JobUpdate update;
  if (random_.Percent(60)) update.priority = random_.Between(-2, 2);
  if (random_.Percent(20)) update.allow_migration = random_.Percent(50);
  if (random_.Percent(30)) {
    update.deadline = random_.Percent(30)
                          ? absl::InfiniteFuture()
                          : server_.clock().Now() + absl::Seconds(random_.Between(-5, 900));
  }
  if (!update.priority && !update.allow_migration && !update.deadline) update.priority = 0;
  if (random_.Percent(5)) update.etag = "of long ago";
  const std::string job = AnyJob();
  const RequestKey request = NewRequest(absl::StrCat("update ", ++requests_));
  Ask([=, this] {
    Do(
        absl::StrCat("update ", job, " priority ", update.priority.value_or(9), " ", request.id),
        [&] { return server_.store().UpdateJob(job, update, request); },
        [&] { return model_.Update(job, update, request); });
  });
}

void Simulation::Delete() {
  const std::string job = AnyJob();
  const bool delete_adapter = random_.Percent(50);
  const RequestKey request = NewRequest(absl::StrCat(job, delete_adapter));
  Ask([=, this] {
    Do(
        absl::StrCat("delete ", job, delete_adapter ? " and its adapter " : " ", request.id),
        [&] { return server_.store().DeleteJob(job, delete_adapter, request); },
        [&] { return model_.Delete(job, delete_adapter, request); });
  });
}

void Simulation::Purge() {
  JobPurge purge;
  static const std::vector<v1::JobState> kStates = {v1::JOB_STATE_SUCCEEDED, v1::JOB_STATE_FAILED,
                                                    v1::JOB_STATE_CANCELLED, v1::JOB_STATE_RUNNING};
  if (random_.Percent(75)) purge.filter.state = random_.Pick(kStates);
  purge.force = random_.Percent(60);
  purge.delete_adapters = random_.Percent(50);
  purge.request = NewRequest(absl::StrCat("purge ", ++requests_));
  Ask([=, this] {
    bool broken_off = false;
    Do(
        absl::StrCat(purge.force ? "purge" : "would purge",
                     purge.filter.state ? " " + Text(*purge.filter.state) : "", " jobs ",
                     purge.request.id),
        [&] {
          auto answer = server_.store().PurgeJobs(
              purge, [](const std::vector<DeletedJob>&) { return absl::OkStatus(); });
          broken_off = server_.faults().fired;
          return answer;
        },
        [&] { return model_.Purge(purge, broken_off); });
  });
}

void Simulation::Pin() {
  const std::string job = AnyJob();
  const auto known = model_.jobs().find(job);
  int64_t step = random_.Between(1, 9);
  if (known != model_.jobs().end() && known->second.newest_step() > 0) {
    step = known->second.newest_step();
  }
  const bool pinned = random_.Percent(65);
  Do(
      absl::StrCat(pinned ? "pin " : "let go of ", job, " step ", step),
      [&] { return server_.store().PinCheckpoint(CheckpointName(job, step), pinned); },
      [&] { return model_.Pin(job, step, pinned); });
}

}  // namespace graft::simulation
