#include "server/serving/text_queue.h"

#include <algorithm>
#include <utility>

namespace graft {

void TextQueue::Push(Text& text) {
  Line& line = lines_[KeyOf(text)];
  if (line.texts.empty()) line.turn = ++last_turn_;
  line.texts.push_back(&text);
  ++size_;
}

void TextQueue::PushFront(Text& text) {
  Line& line = lines_[KeyOf(text)];
  line.turn = --first_turn_;
  line.texts.push_front(&text);
  ++size_;
}

void TextQueue::Remove(Text& text) {
  const auto line = lines_.find(KeyOf(text));
  if (line == lines_.end()) return;
  size_ -= std::erase(line->second.texts, &text);
  if (line->second.texts.empty()) lines_.erase(line);
}

Text* TextQueue::Take(const std::string& base, bool batching) {
  auto next = lines_.end();
  for (auto it = lines_.begin(); it != lines_.end(); ++it) {
    const auto& [of_base, adapter, needs_batching] = it->first;
    if (of_base != base || (needs_batching && !batching)) continue;
    if (next == lines_.end() || it->second.turn < next->second.turn) next = it;
  }
  if (next == lines_.end()) return nullptr;
  Line& line = next->second;
  Text* const text = line.texts.front();
  line.texts.pop_front();
  line.turn = ++last_turn_;
  if (line.texts.empty()) lines_.erase(next);
  --size_;
  return text;
}

std::vector<TextQueue::Kind> TextQueue::Kinds() const {
  std::map<Kind, int64_t> turns;
  for (const auto& [key, line] : lines_) {
    const auto& [base, adapter, needs_batching] = key;
    const auto [it, first] = turns.try_emplace({base, needs_batching}, line.turn);
    it->second = std::min(it->second, line.turn);
  }
  std::vector<std::pair<int64_t, Kind>> by_turn;
  for (const auto& [kind, turn] : turns) by_turn.emplace_back(turn, kind);
  std::sort(by_turn.begin(), by_turn.end());
  std::vector<Kind> kinds;
  for (auto& [turn, kind] : by_turn) kinds.push_back(std::move(kind));
  return kinds;
}

std::vector<Text*> TextQueue::texts() const {
  std::vector<Text*> texts;
  for (const auto& [key, line] : lines_) {
    texts.insert(texts.end(), line.texts.begin(), line.texts.end());
  }
  return texts;
}

}  // namespace graft
