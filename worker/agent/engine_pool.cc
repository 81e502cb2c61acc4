#include "worker/agent/engine_pool.h"

#include <pthread.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/telemetry/log.h"

namespace graft {

EngineLoan::EngineLoan(EnginePool& pool, std::shared_ptr<SharedEngine> engine, std::string subject,
                       Role role, bool was_idle)
    : pool_(pool),
      engine_(std::move(engine)),
      subject_(std::move(subject)),
      role_(role),
      was_idle_(was_idle) {
  engine_->Open(subject_,
                role_ == Role::kJob ? SharedEngine::Kind::kJob : SharedEngine::Kind::kText);
}

EngineLoan::~EngineLoan() {
  if (given_back_) return;
  if (role_ == Role::kGuest) {
    engine::v1::EngineCommand cancel;
    cancel.mutable_cancel();
    cancel.set_row(-1);
    Send(cancel).IgnoreError();
  } else {
    engine_->Kill();
  }
  engine_->Close(subject_);
  pool_.Return(*engine_, role_, /*reusable=*/role_ == Role::kGuest);
}

absl::Status EngineLoan::Send(engine::v1::EngineCommand command) {
  command.set_job(subject_);
  return engine_->Send(command);
}

void EngineLoan::GiveBack() {
  engine_->Close(subject_);
  given_back_ = true;
  pool_.Return(*engine_, role_, /*reusable=*/true);
}

EnginePool::EnginePool(Options options, EngineLauncher& launcher, Clock& clock)
    : options_(std::move(options)), launcher_(launcher), clock_(clock), thread_([this] { Run(); }) {
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
  RemoveDead(dead);
  if (stopping_) return absl::CancelledError("the worker stops");
  Entry* const free = FindFree(borrower.base);
  if (borrower.is_text && (free == nullptr || free->base != borrower.base)) {
    Entry* const with_job = FindWithJob(borrower.base);
    if (with_job != nullptr) return AddGuest(*with_job, borrower);
  }
  if (free != nullptr) return Lend(*free, borrower, /*was_idle=*/true);
  ASSIGN_OR_RETURN(std::unique_ptr<EngineProcess> process, Launch(borrower.log_path));
  if (stopping_) return absl::CancelledError("the worker stops");
  Entry entry;
  entry.engine = std::make_shared<SharedEngine>(std::move(process), options_.on_hello);
  engines_.push_back(std::move(entry));
  return Lend(engines_.back(), borrower, /*was_idle=*/false);
}

std::unique_ptr<EngineLoan> EnginePool::Join(const Borrower& borrower) {
  MutexLock lock(mutex_);
  Entry* const with_job = stopping_ ? nullptr : FindWithJob(borrower.base);
  return with_job == nullptr ? nullptr : AddGuest(*with_job, borrower);
}

EnginePool::Held EnginePool::held() {
  Held held;
  MutexLock lock(mutex_);
  for (const Entry& entry : engines_) {
    if (entry.runs_job) held.with_job.insert(entry.base);
    if (entry.idle()) held.idle.insert(entry.base);
  }
  return held;
}

void EnginePool::RemoveDead(Engines& dead) {
  for (auto it = engines_.begin(); it != engines_.end();) {
    const auto next = std::next(it);
    if (!it->lent && !it->engine->IsAlive()) {
      Log(LogLevel::kWarning, "an engine ended that had no job");
      dead.splice(dead.end(), engines_, it);
    }
    it = next;
  }
}

EnginePool::Entry* EnginePool::FindFree(const std::string& base) {
  Entry* best = nullptr;
  // The first that holds the base model; else without guests, and idle for long.
  const auto rank = [&](const Entry& entry) {
    return std::tuple(entry.base != base, entry.guests, entry.idle_since);
  };
  for (Entry& entry : engines_) {
    if (!entry.lent && (best == nullptr || rank(entry) < rank(*best))) best = &entry;
  }
  return best;
}

EnginePool::Entry* EnginePool::FindWithJob(const std::string& base) {
  for (Entry& entry : engines_) {
    if (entry.runs_job && entry.base == base) return &entry;
  }
  return nullptr;
}

std::unique_ptr<EngineLoan> EnginePool::Lend(Entry& entry, const Borrower& borrower,
                                             bool was_idle) {
  entry.lent = true;
  entry.runs_job = !borrower.is_text;
  entry.base = borrower.base;
  return std::make_unique<EngineLoan>(
      *this, entry.engine, borrower.subject,
      borrower.is_text ? EngineLoan::Role::kText : EngineLoan::Role::kJob, was_idle);
}

std::unique_ptr<EngineLoan> EnginePool::AddGuest(Entry& entry, const Borrower& borrower) {
  ++entry.guests;
  return std::make_unique<EngineLoan>(*this, entry.engine, borrower.subject,
                                      EngineLoan::Role::kGuest, /*was_idle=*/false);
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

void EnginePool::Return(const SharedEngine& engine, EngineLoan::Role role, bool reusable) {
  Engines ended;
  MutexLock lock(mutex_);
  const auto it = std::find_if(engines_.begin(), engines_.end(),
                               [&](const Entry& entry) { return entry.engine.get() == &engine; });
  if (it == engines_.end()) return;  // Somebody else's loan has ended it.
  if (!reusable || stopping_) {
    ended.splice(ended.end(), engines_, it);
    return;
  }
  if (role == EngineLoan::Role::kGuest) {
    --it->guests;
  } else {
    it->lent = it->runs_job = false;
  }
  it->idle_since = clock_.Boottime();
  changed_.NotifyAll();
}

EnginePool::Engines EnginePool::TakeIdle(absl::Duration until) {
  Engines idle;
  for (auto it = engines_.begin(); it != engines_.end();) {
    const auto next = std::next(it);
    if (it->idle() && it->idle_since <= until) idle.splice(idle.end(), engines_, it);
    it = next;
  }
  return idle;
}

absl::Duration EnginePool::NextEnd() {
  absl::Duration next = absl::InfiniteDuration();
  for (const Entry& entry : engines_) {
    if (entry.idle()) next = std::min(next, entry.idle_since + options_.idle);
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
