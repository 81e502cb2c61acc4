#include "common/text/merge_table.h"

#include <algorithm>

namespace graft {
namespace {

// Words of more symbols go through the heap.
constexpr size_t kShortWord = 48;

// Order of the heap: its front is the lowest rank, and of equal ranks the leftmost.
bool IsLater(const MergeTable::Workspace::Candidate& a, const MergeTable::Workspace::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

MergeTable::MergeTable(absl::Span<const BpeMerge> merges) {
  int bits = 4;
  while ((size_t{1} << bits) < merges.size() * 2) ++bits;
  shift_ = 64 - bits;
  entries_.resize(size_t{1} << bits);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    entries_[SlotOf(merge.left, merge.right)] = {merge.left, merge.right,
                                                 static_cast<uint32_t>(rank), merge.result};
  }
}

// The slot that holds the pair, or the empty one where it would stand.
size_t MergeTable::SlotOf(int32_t left, int32_t right) const {
  const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  size_t slot = (key * 0x9E3779B97F4A7C15ULL) >> shift_;  // Fibonacci hashing
  while (entries_[slot].rank != kNoRank &&
         (entries_[slot].left != left || entries_[slot].right != right)) {
    slot = (slot + 1) & (entries_.size() - 1);
  }
  return slot;
}

const MergeTable::Entry& MergeTable::Find(int32_t left, int32_t right) const {
  return entries_[SlotOf(left, right)];
}

void MergeTable::Apply(std::vector<int32_t>* symbols, Workspace* workspace) const {
  if (symbols->size() < 2) return;
  if (symbols->size() <= kShortWord) {
    ApplyToShort(symbols, workspace);
  } else {
    ApplyToLong(symbols, workspace);
  }
}

void MergeTable::ApplyToShort(std::vector<int32_t>* symbols, Workspace* workspace) const {
  std::vector<int32_t>& ids = *symbols;
  std::vector<uint32_t>& ranks = workspace->ranks;  // ranks[i]: of the pair (i, i + 1)
  ranks.resize(ids.size() - 1);
  for (size_t i = 0; i + 1 < ids.size(); ++i) ranks[i] = Find(ids[i], ids[i + 1]).rank;
  while (!ranks.empty()) {
    const auto lowest = std::min_element(ranks.begin(), ranks.end());
    if (*lowest == kNoRank) return;
    const size_t i = lowest - ranks.begin();
    ids[i] = Find(ids[i], ids[i + 1]).result;
    ids.erase(ids.begin() + i + 1);
    ranks.erase(lowest);
    if (i > 0) ranks[i - 1] = Find(ids[i - 1], ids[i]).rank;
    if (i < ranks.size()) ranks[i] = Find(ids[i], ids[i + 1]).rank;
  }
}

void MergeTable::ApplyToLong(std::vector<int32_t>* ids, Workspace* workspace) const {
  auto& symbols = workspace->symbols;
  auto& heap = workspace->heap;
  const auto count = static_cast<int32_t>(ids->size());
  symbols.clear();
  heap.clear();
  for (int32_t i = 0; i < count; ++i) {
    symbols.push_back({(*ids)[i], i - 1, i + 1 < count ? i + 1 : -1});
  }
  const auto push = [&](int32_t position) {
    if (position < 0 || symbols[position].next < 0) return;
    const Entry& entry = Find(symbols[position].id, symbols[symbols[position].next].id);
    if (entry.rank == kNoRank) return;
    heap.push_back({entry.rank, position, entry.result});
    std::push_heap(heap.begin(), heap.end(), IsLater);
  };
  for (int32_t i = 0; i < count; ++i) push(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), IsLater);
    const Workspace::Candidate top = heap.back();
    heap.pop_back();
    Workspace::Symbol& symbol = symbols[top.position];
    // A candidate is stale when either side was merged since; then the pair there spells a longer
    // token, or none is there.
    if (symbol.id < 0 || symbol.next < 0) continue;
    Workspace::Symbol& next = symbols[symbol.next];
    if (const Entry& now = Find(symbol.id, next.id);
        now.rank == kNoRank || now.result != top.result) {
      continue;
    }
    symbol.id = top.result;
    next.id = -1;
    symbol.next = next.next;
    if (symbol.next >= 0) symbols[symbol.next].previous = top.position;
    push(symbol.previous);
    push(top.position);
  }
  ids->clear();
  for (int32_t i = 0; i >= 0; i = symbols[i].next) ids->push_back(symbols[i].id);
}

}  // namespace graft
