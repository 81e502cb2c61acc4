#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/mutex.h"

namespace graft {

// Applies a function to items on threads of its own and gives them back in the order in which they
// came. Push and Pop belong to one thread; at most `max_in_flight` items should be between them
// (the caller counts with in_flight()), which bounds the memory.
template <typename Item>
class OrderedPipeline {
 public:
  OrderedPipeline(int num_threads, std::function<void(Item&)> work) : work_(std::move(work)) {
    threads_.reserve(static_cast<size_t>(num_threads));
    for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  ~OrderedPipeline() {
    {
      MutexLock lock(mutex_);
      closed_ = true;
    }
    work_ready_.NotifyAll();
    for (std::thread& thread : threads_) thread.join();
  }
  OrderedPipeline(const OrderedPipeline&) = delete;
  OrderedPipeline& operator=(const OrderedPipeline&) = delete;

  size_t in_flight() const { return order_.size(); }

  void Push(std::unique_ptr<Item> item) {
    auto slot = std::make_shared<Slot>();
    slot->item = std::move(item);
    order_.push_back(slot);
    {
      MutexLock lock(mutex_);
      waiting_.push_back(std::move(slot));
    }
    work_ready_.NotifyOne();
  }

  // The oldest item, after waiting for it. in_flight() must be > 0.
  std::unique_ptr<Item> Pop() {
    const std::shared_ptr<Slot> slot = std::move(order_.front());
    order_.pop_front();
    MutexLock lock(mutex_);
    while (!slot->done) item_done_.Wait(mutex_);
    return std::move(slot->item);
  }

 private:
  struct Slot {
    std::unique_ptr<Item> item;  // The worker's until done, then the caller's.
    bool done = false;
  };

  void Run() {
    for (;;) {
      std::shared_ptr<Slot> slot;
      {
        MutexLock lock(mutex_);
        while (waiting_.empty() && !closed_) work_ready_.Wait(mutex_);
        if (closed_) return;
        slot = std::move(waiting_.front());
        waiting_.pop_front();
      }
      work_(*slot->item);
      {
        MutexLock lock(mutex_);
        slot->done = true;
      }
      item_done_.NotifyAll();
    }
  }

  const std::function<void(Item&)> work_;
  std::deque<std::shared_ptr<Slot>> order_;  // Of the caller's thread only.
  Mutex mutex_;
  CondVar work_ready_;
  CondVar item_done_;
  std::deque<std::shared_ptr<Slot>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;  // Last: they use everything above.
};

}  // namespace graft
