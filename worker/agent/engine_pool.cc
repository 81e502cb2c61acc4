#include "worker/agent/engine_pool.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"

namespace graft {

EngineLoan::EngineLoan(EnginePool& pool, std::shared_ptr<SharedEngine> engine, std::string subject,
                       SharedEngine::Kind kind)
    : pool_(pool), engine_(std::move(engine)), subject_(std::move(subject)), kind_(kind) {
  engine_->Open(subject_, kind_);
}

EngineLoan::~EngineLoan() {
  engine_->Close(subject_);
  if (given_back_) return;
  engine_->Kill();
  pool_.Return(*engine_, kind_, /*reusable=*/false);
}

absl::Status EngineLoan::Send(engine::v1::EngineCommand command) {
  command.set_job(subject_);
  return engine_->Send(command);
}

void EngineLoan::GiveBack() {
  engine_->Close(subject_);
  given_back_ = true;
  pool_.Return(*engine_, kind_, /*reusable=*/true);
}

EnginePool::EnginePool(Options options, EngineLauncher& launcher, Clock& clock)
    : options_(options), launcher_(launcher), clock_(clock), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "engines");
}

EnginePool::~EnginePool() {
  Stop();
  thread_.join();
}

void EnginePool::Stop() {
  Engines idle;
  MutexLock lock(mutex_);
  stopping_ = true;
  // The others are their borrowers' to return.
  for (const Entry& entry : engines_) entry.engine->Kill();
  idle = TakeIdle(absl::InfiniteDuration());
  changed_.NotifyAll();
}

absl::StatusOr<std::unique_ptr<EngineLoan>> EnginePool::Borrow(const Borrower& borrower) {
  Engines dead;  // Destroyed when the lock is no longer held.
  MutexLock lock(mutex_);
  for (auto it = engines_.begin(); it != engines_.end();) {
    const auto next = std::next(it);
    if (it->loans == 0 && !it->engine->IsAlive()) dead.splice(dead.end(), engines_, it);
    it = next;
  }
  if (stopping_) return absl::CancelledError("the worker stops");
  if (const auto idle = FindIdle(borrower.base); idle != engines_.end()) {
    return Lend(*idle, borrower);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<EngineProcess> process, Launch(borrower.log_path));
  if (stopping_) return absl::CancelledError("the worker stops");
  Entry entry;
  entry.engine = std::make_shared<SharedEngine>(std::move(process));
  engines_.push_back(std::move(entry));
  return Lend(engines_.back(), borrower);
}

EnginePool::Engines::iterator EnginePool::FindIdle(const std::string& base) {
  auto best = engines_.end();
  for (auto it = engines_.begin(); it != engines_.end(); ++it) {
    if (it->loans > 0) continue;
    if (it->base == base) return it;
    if (best == engines_.end() || it->idle_since < best->idle_since) best = it;
  }
  return best;
}

std::unique_ptr<EngineLoan> EnginePool::Lend(Entry& entry, const Borrower& borrower) {
  ++entry.loans;
  entry.base = borrower.base;
  if (borrower.kind == SharedEngine::Kind::kJob) entry.runs_job = true;
  return std::make_unique<EngineLoan>(*this, entry.engine, borrower.subject, borrower.kind);
}

absl::StatusOr<std::unique_ptr<EngineProcess>> EnginePool::Launch(const std::string& log_path) {
  const auto start = std::make_shared<Start>();
  start->log_path = log_path;
  starts_.push_back(start);
  changed_.NotifyAll();
  while (!start->done && !stopping_) changed_.Wait(mutex_);
  if (!start->done) return absl::CancelledError("the worker stops");
  return std::move(start->process);
}

void EnginePool::Return(const SharedEngine& engine, SharedEngine::Kind kind, bool reusable) {
  Engines ended;
  MutexLock lock(mutex_);
  const auto it = std::find_if(engines_.begin(), engines_.end(),
                               [&](const Entry& entry) { return entry.engine.get() == &engine; });
  if (it == engines_.end()) return;  // Somebody else's loan has ended it.
  if (!reusable || stopping_) {
    ended.splice(ended.end(), engines_, it);
    return;
  }
  --it->loans;
  if (kind == SharedEngine::Kind::kJob) it->runs_job = false;
  it->idle_since = clock_.Boottime();
  changed_.NotifyAll();
}

EnginePool::Engines EnginePool::TakeIdle(absl::Duration until) {
  Engines idle;
  for (auto it = engines_.begin(); it != engines_.end();) {
    const auto next = std::next(it);
    if (it->loans == 0 && it->idle_since <= until) idle.splice(idle.end(), engines_, it);
    it = next;
  }
  return idle;
}

absl::Duration EnginePool::NextEnd() {
  absl::Duration next = absl::InfiniteDuration();
  for (const Entry& entry : engines_) {
    if (entry.loans == 0) next = std::min(next, entry.idle_since + options_.idle);
  }
  return next;
}

void EnginePool::Run() {
  for (;;) {
    Engines idle;
    std::shared_ptr<Start> start;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && starts_.empty()) {
        const absl::Duration next = NextEnd();
        if (next == absl::InfiniteDuration()) {
          changed_.Wait(mutex_);
        } else if (!clock_.WaitUntil(changed_, mutex_, next)) {
          break;
        }
      }
      if (stopping_) return;
      idle = TakeIdle(clock_.Boottime() - options_.idle);
      if (!starts_.empty()) {
        start = std::move(starts_.front());
        starts_.pop_front();
      }
    }
    if (!idle.empty()) {
      Log(LogLevel::kInfo, "an idle engine was ended",
          {{"idle_seconds", absl::StrCat(absl::ToInt64Seconds(options_.idle))}});
      idle.clear();
    }
    if (start == nullptr) continue;
    auto process = launcher_.Launch(start->log_path);
    MutexLock lock(mutex_);
    start->process = std::move(process);
    start->done = true;
    changed_.NotifyAll();
  }
}

}  // namespace graft
