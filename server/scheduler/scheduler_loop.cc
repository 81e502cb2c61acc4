#include "server/scheduler/scheduler_loop.h"

#include <pthread.h>

#include <utility>

namespace graft {

SchedulerLoop::SchedulerLoop(JobStore& store, Clock& clock, Scheduler& scheduler,
                             std::function<void(const Upkeep&)> on_upkeep)
    : clock_(clock), scheduler_(scheduler), on_upkeep_(std::move(on_upkeep)) {
  subscription_ = store.Subscribe("", [this](const JobChange& change) {
    const bool counts =
        change.state != change.previous_state || change.deleted || change.schedule_changed;
    if (counts) Wake();
  });
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "scheduler");
    Run();
  });
}

SchedulerLoop::~SchedulerLoop() {
  subscription_.reset();
  {
    MutexLock lock(mutex_);
    closing_ = true;
    woken_.NotifyAll();
    ticked_.NotifyAll();
  }
  thread_.join();
}

void SchedulerLoop::Wake() {
  MutexLock lock(mutex_);
  wake_ = true;
  woken_.NotifyAll();
}

void SchedulerLoop::AwaitTick() {
  MutexLock lock(mutex_);
  const int64_t wanted = begun_ticks_ + 1;
  wake_ = true;
  woken_.NotifyAll();
  while (ended_ticks_ < wanted && !closing_) ticked_.Wait(mutex_);
}

void SchedulerLoop::Run() {
  absl::Duration next = absl::ZeroDuration();
  while (true) {
    {
      MutexLock lock(mutex_);
      while (!wake_ && !closing_ && clock_.WaitUntil(woken_, mutex_, next)) {
      }
      if (closing_) return;
      wake_ = false;
      ++begun_ticks_;
    }
    const Upkeep upkeep = scheduler_.Tick();
    next = upkeep.next;
    on_upkeep_(upkeep);
    MutexLock lock(mutex_);
    ended_ticks_ = begun_ticks_;
    ticked_.NotifyAll();
  }
}

}  // namespace graft
