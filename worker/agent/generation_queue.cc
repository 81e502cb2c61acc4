#include "worker/agent/generation_queue.h"

#include <algorithm>
#include <utility>

namespace graft {

absl::Status GenerationQueue::Push(Text text) {
  MutexLock lock(mutex_);
  if (std::find(ended_.begin(), ended_.end(), text.id()) != ended_.end()) return absl::OkStatus();
  if (waiting_.size() >= kMaxWaiting) {
    return absl::ResourceExhaustedError("too many texts wait on this worker");
  }
  waiting_.push_back(std::move(text));
  changed_.NotifyAll();
  return absl::OkStatus();
}

std::optional<GenerationQueue::Text> GenerationQueue::Begin(const Wanted& wanted) {
  MutexLock lock(mutex_);
  for (auto text = waiting_.begin(); text != waiting_.end(); ++text) {
    if (!under_way_.contains(text->id()) && wanted(*text)) return Take(text);
  }
  return std::nullopt;
}

std::optional<GenerationQueue::Text> GenerationQueue::Next(const std::string& batch) {
  MutexLock lock(mutex_);
  while (under_way_.contains(batch)) {
    for (auto text = waiting_.begin(); text != waiting_.end(); ++text) {
      if (text->id() == batch) return Take(text);
    }
    changed_.Wait(mutex_);
  }
  return std::nullopt;
}

GenerationQueue::Text GenerationQueue::Take(const std::deque<Text>::iterator& text) {
  Text taken = std::move(*text);
  waiting_.erase(text);
  under_way_[taken.id()].insert(taken.row());
  return taken;
}

bool GenerationQueue::Done(const std::string& batch, int row) {
  MutexLock lock(mutex_);
  std::set<int>& rows = under_way_[batch];
  rows.erase(row);
  if (!rows.empty()) return false;
  const bool waits = std::any_of(waiting_.begin(), waiting_.end(),
                                 [&](const Text& text) { return text.id() == batch; });
  if (waits) return false;
  EndLocked(batch);
  return true;
}

std::vector<int> GenerationQueue::UnderWay(const std::string& batch) {
  MutexLock lock(mutex_);
  const auto rows = under_way_.find(batch);
  if (rows == under_way_.end()) return {};
  return {rows->second.begin(), rows->second.end()};
}

void GenerationQueue::End(const std::string& batch) {
  MutexLock lock(mutex_);
  EndLocked(batch);
}

void GenerationQueue::EndLocked(const std::string& batch) {
  if (under_way_.erase(batch) == 0) return;
  std::erase_if(waiting_, [&](const Text& text) { return text.id() == batch; });
  ended_.push_back(batch);
  if (ended_.size() > kMaxEnded) ended_.pop_front();
  changed_.NotifyAll();
}

bool GenerationQueue::Remove(const std::string& batch, int row) {
  MutexLock lock(mutex_);
  const auto text = std::find_if(waiting_.begin(), waiting_.end(), [&](const Text& one) {
    return one.id() == batch && one.row() == row;
  });
  if (text == waiting_.end()) return false;
  waiting_.erase(text);
  return true;
}

}  // namespace graft
