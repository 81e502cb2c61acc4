#include <algorithm>

#include "common/errors/status_details.h"
#include "tests/server/simulation/simulation.h"

namespace graft::simulation {
namespace {

// The same whenever a step is computed.
double LossOf(const std::string& job, int64_t step) {
  return static_cast<double>(job.size() * 1000 + static_cast<size_t>(step)) / 8;
}

google::rpc::Status Error(absl::StatusCode code) {
  google::rpc::Status error;
  error.set_code(static_cast<int>(code));
  error.set_message("simulated");
  return error;
}

google::rpc::Status Corrupt(int64_t step) {
  google::rpc::Status error = Error(absl::StatusCode::kDataLoss);
  CheckpointCorrupt(absl::DataLossError("rotten"), step)
      .ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
        auto& detail = *error.add_details();
        detail.set_type_url(std::string(url));
        detail.set_value(std::string(payload));
      });
  return error;
}

std::string NameOf(const AttemptOutcome& outcome) {
  static const std::vector<std::string> kNames = {"success", "failure", "cancelled", "paused",
                                                  "returned"};
  return kNames[outcome.index()];
}

std::string LeaseText(const LeaseRef& lease) {
  return absl::StrCat(lease.worker.id, "/", lease.worker.instance, " ", lease.job, " epoch ",
                      lease.lease_epoch);
}

bool IsStale(const absl::Status& status) { return ReasonOf(status) == kReasonStaleLease; }

}  // namespace

std::vector<PresentWorker> Simulation::Present() const {
  std::vector<PresentWorker> present;
  for (const Worker& worker : workers_) {
    if (!worker.connected) continue;
    const int free = worker.slots - static_cast<int>(worker.held.size());
    present.push_back({worker.ref.id, std::max(0, free), worker.slots});
  }
  return present;
}

void Simulation::WorkSomewhere() {
  Worker& worker = random_.Pick(workers_);
  const int choice = random_.Below(100);
  if (choice < 3) return RestartWorker(worker);
  if (choice < 6) {
    worker.connected = !worker.connected;
    return Tell(absl::StrCat(worker.ref.id, worker.connected ? " is there again" : " is away"));
  }
  const bool has_room = worker.held.size() < static_cast<size_t>(worker.slots);
  if (has_room ? choice < 45 : choice < 8) return LeaseTo(worker, random_.Percent(15));
  if (choice < 60) return Renew(worker);
  auto& attempts = worker.past.empty() || (!worker.held.empty() && random_.Percent(85))
                       ? worker.held
                       : worker.past;
  if (attempts.empty()) return LeaseTo(worker, false);
  Report(worker, *std::next(attempts.begin(), random_.Below(static_cast<int>(attempts.size()))));
  // One that ended is none that it holds.
  for (auto held = worker.held.begin(); held != worker.held.end();) {
    const auto next = std::next(held);
    if (held->outcome) worker.past.splice(worker.past.end(), worker.held, held);
    held = next;
  }
}

void Simulation::LeaseTo(Worker& worker, bool repeat) {
  if (!repeat || worker.last_request.empty()) {
    worker.last_request = absl::StrCat(worker.ref.instance, "-", ++requests_);
  }
  const std::vector<PresentWorker> present = Present();
  const auto claim = Try(
      absl::StrCat(worker.ref.id, "/", worker.ref.instance, " asks for a job, ",
                   worker.last_request),
      [&] {
        return server_.scheduler().LeaseJob(worker.ref, worker.last_request, worker.abilities);
      },
      [&] { return model_.Lease(worker.ref, worker.last_request, worker.abilities, present); });
  if (absl::IsUnavailable(claim.status()) && ReasonOf(claim.status()).empty()) {
    model_.AskedInVain(worker.ref, worker.last_request, worker.abilities);
  }
  if (!claim.ok() || !*claim || random_.Percent(5)) return;  // It may not hear of it.
  const LeaseRef lease = {(*claim)->job.name(), (*claim)->lease_epoch, worker.ref};
  for (const HeldAttempt& held : worker.held) {
    if (held.lease.job == lease.job && held.lease.lease_epoch == lease.lease_epoch) return;
  }
  worker.held.push_back({.lease = lease,
                         .evaluate = (*claim)->job.resolved_spec().has_evaluate(),
                         .resumed_from = (*claim)->checkpoint_step,
                         .step = (*claim)->checkpoint_step});
}

void Simulation::Renew(Worker& worker) {
  std::vector<std::pair<std::string, int64_t>> all;
  for (const auto& held : worker.held) all.emplace_back(held.lease.job, held.lease.lease_epoch);
  // As one does that has not heard of its end.
  if (!worker.past.empty() && random_.Percent(30)) {
    const LeaseRef& lease = worker.past.back().lease;
    all.emplace_back(lease.job, lease.lease_epoch);
  }
  const auto renewals = Try(
      absl::StrCat(worker.ref.id, "/", worker.ref.instance, " renews"),
      [&] { return server_.store().RenewLeases(worker.ref, all); },
      [&] { return model_.Renew(worker.ref, all); });
  if (!renewals.ok()) return;
  auto renewal = renewals->begin();
  for (auto held = worker.held.begin(); held != worker.held.end(); ++renewal) {
    const auto next = std::next(held);
    held->cancel = renewal->cancel;
    held->pause = renewal->pause;
    if (!renewal->held) worker.past.splice(worker.past.end(), worker.held, held);
    held = next;
  }
}

// The process ends without a word, and is there again as another.
void Simulation::RestartWorker(Worker& worker) {
  worker.past.splice(worker.past.end(), worker.held);
  worker.ref.instance = absl::StrCat("i", ++requests_);
  worker.last_request.clear();
  worker.connected = true;
  Do(
      absl::StrCat(worker.ref.id, " starts anew as ", worker.ref.instance),
      [&] { return server_.store().ReleaseOtherInstances(worker.ref); },
      [&] { return model_.ReleaseOtherInstances(worker.ref); });
}

void Simulation::Report(Worker& worker, HeldAttempt& held) {
  if (held.outcome && random_.Percent(50)) return Finish(held, *held.outcome, held.batches());
  if (held.cancel || held.pause) {
    if (random_.Percent(70)) {
      const auto outcome =
          held.cancel ? AttemptOutcome(AttemptCancelled{}) : AttemptOutcome(AttemptPaused{});
      return Finish(held, outcome, held.batches());
    }
  }
  const int choice = random_.Below(100);
  if (choice < 50) return Append(held);
  if (choice < 75 && held.step > 0) return Commit(worker, held);
  Finish(held, AnyOutcome(held), held.batches() + (random_.Percent(5) ? 1 : 0));
}

EventBatch Simulation::NextBatch(HeldAttempt& held) {
  EventBatch batch;
  batch.number = held.batches() + 1;
  if (random_.Percent(10)) {  // It has only begun.
    batch.events.emplace_back().mutable_stage_change()->set_stage(v1::JOB_STAGE_LOADING);
    return batch;
  }
  batch.stage =
      held.evaluate || random_.Percent(20) ? v1::JOB_STAGE_EVALUATING : v1::JOB_STAGE_TRAINING;
  if (batch.stage == v1::JOB_STAGE_EVALUATING) {
    batch.stage_done = held.rows += random_.Between(0, 2);
    if (held.evaluate) held.step = held.rows;
    if (random_.Percent(30)) {
      v1::JobEvent& event = batch.events.emplace_back();
      event.mutable_evaluation()->set_step(held.step);
      (*event.mutable_evaluation()->mutable_values())["eval/loss"] =
          LossOf(held.lease.job, held.step);
    }
  } else {
    held.rows = 0;
    for (int steps = random_.Between(0, 2); steps > 0; --steps) {
      ++held.step;
      const double wrong = random_.Percent(4) ? 1 : 0;
      v1::JobEvent event =
          StoreFixture::LossEvent(held.step, LossOf(held.lease.job, held.step) + wrong);
      if (random_.Percent(30)) {
        (*event.mutable_metrics()->mutable_values())["train/rows_per_second"] = random_.Below(1000);
      }
      batch.events.push_back(event);
    }
  }
  batch.step = held.step;
  return batch;
}

void Simulation::Append(HeldAttempt& held) {
  HeldAttempt after = held;
  EventBatch batch;
  const int choice = random_.Below(100);
  if (choice < 15 && held.last_batch) {
    batch = *held.last_batch;  // Its answer was lost.
  } else {
    batch = NextBatch(after);
    if (choice >= 95) ++batch.number;  // The one before is still under way.
  }
  const auto last = Try(
      absl::StrCat(LeaseText(held.lease), " batch ", batch.number, " of ", batch.events.size(),
                   " events, step ", batch.step, " rows ", batch.stage_done),
      [&] { return server_.store().AppendEvents(held.lease, batch); },
      [&] { return model_.Append(held.lease, batch); });
  if (last.ok() && *last == batch.number) {
    held = after;
    held.last_batch = batch;
  }
}

void Simulation::Commit(Worker& worker, HeldAttempt& held) {
  NewCheckpoint made;
  made.step = held.step;
  made.files = {StoreFixture::File("state", random_.Percent(80) ? '1' : '2')};
  made.execution = worker.execution;
  Do(
      absl::StrCat(LeaseText(held.lease), " checkpoint of step ", made.step),
      [&] { return server_.store().CommitCheckpoint(held.lease, made); },
      [&] { return model_.Commit(held.lease, made); });
}

AttemptOutcome Simulation::AnyOutcome(const HeldAttempt& held) {
  const int choice = random_.Below(100);
  if (choice < 30) {
    AttemptSucceeded succeeded = StoreFixture::Success();
    if (held.evaluate) succeeded.adapter.reset();
    return succeeded;
  }
  if (choice < 55) {
    return AttemptFailed{Error(absl::StatusCode::kUnavailable), v1::FAILURE_CLASS_INFRASTRUCTURE,
                         random_.Percent(80) ? "signal 9" : "hung"};
  }
  if (choice < 60) {
    return AttemptFailed{Error(absl::StatusCode::kInvalidArgument), v1::FAILURE_CLASS_DATA, ""};
  }
  if (choice < 70 && held.resumed_from > 0) {
    return AttemptFailed{Corrupt(held.resumed_from), v1::FAILURE_CLASS_INFRASTRUCTURE, "corrupt"};
  }
  if (choice < 74) return AttemptCancelled{};
  if (choice < 80) return AttemptPaused{};
  AttemptReturned returned = {.reason = Error(absl::StatusCode::kResourceExhausted)};
  returned.worker_fault = choice >= 85 && choice < 90;
  returned.by_server = choice >= 90 && choice < 95;
  returned.bystander = choice >= 95;
  return returned;
}

void Simulation::Finish(HeldAttempt& held, const AttemptOutcome& outcome, int64_t last_batch) {
  const auto state = Try(
      absl::StrCat(LeaseText(held.lease), " ends after batch ", last_batch, ": ", NameOf(outcome)),
      [&] { return server_.store().FinishAttempt(held.lease, last_batch, outcome); },
      [&] { return model_.Finish(held.lease, last_batch, outcome); });
  if (state.ok() || IsStale(state.status())) held.outcome = outcome;
}

}  // namespace graft::simulation
