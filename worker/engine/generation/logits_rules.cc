#include "worker/engine/generation/logits_rules.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace graft {
namespace {

// Calls ban(id) with every token that followed an earlier occurrence of the last n - 1 ids.
template <typename Ban>
void ForRepeatedNgrams(const std::vector<int32_t>& ids, int64_t n, const Ban& ban) {
  const auto length = static_cast<int64_t>(ids.size());
  const auto suffix = ids.end() - std::min(n - 1, length);
  for (int64_t begin = 0; begin + n <= length; ++begin) {
    if (std::equal(suffix, ids.end(), ids.begin() + begin)) {
      ban(ids[static_cast<size_t>(begin + n - 1)]);
    }
  }
}

at::Tensor Places(const std::vector<int64_t>& places, const at::Tensor& scores) {
  return at::tensor(places, at::kLong).to(scores.device());
}

}  // namespace

void LogitsRules::Apply(std::span<const std::vector<int32_t>> sequences,
                        const at::Tensor& scores) const {
  const int64_t vocabulary = scores.size(1);
  std::vector<int64_t> seen, banned;  // Places in the flat scores.
  for (size_t row = 0; row < sequences.size(); ++row) {
    const int64_t first = static_cast<int64_t>(row) * vocabulary;
    if (penalty_ != 1) {
      for (const int32_t id : sequences[row]) seen.push_back(first + id);
    }
    if (ngram_size_ > 0) {
      ForRepeatedNgrams(sequences[row], ngram_size_,
                        [&](int32_t id) { banned.push_back(first + id); });
    }
  }
  const at::Tensor flat = scores.view(-1);
  if (!seen.empty()) {
    // A token that was seen twice stands there twice, with the same new value.
    const at::Tensor places = Places(seen, scores);
    const at::Tensor values = flat.index_select(0, places);
    flat.index_copy_(0, places, at::where(values < 0, values * penalty_, values / penalty_));
  }
  if (!banned.empty()) {
    flat.index_fill_(0, Places(banned, scores), -std::numeric_limits<double>::infinity());
  }
}

}  // namespace graft
