#include "worker/engine/training/batch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace graft {
namespace {

// Index of the first token of a row that is predicted: the first label, but never the token that
// nothing precedes.
int64_t FirstTarget(const Example& example, int64_t num_prompt_rows) {
  const int64_t first_predictable = num_prompt_rows > 0 ? 0 : 1;
  return std::max(example.num_prompt_tokens, first_predictable);
}

}  // namespace

int64_t CountLabels(const ExampleSource& source, std::span<const int64_t> rows,
                    int64_t num_prompt_rows) {
  int64_t count = 0;
  for (int64_t row : rows) {
    const Example example = source.Get(row);
    const int64_t length = static_cast<int64_t>(example.ids.size());
    count += std::max<int64_t>(0, length - FirstTarget(example, num_prompt_rows));
  }
  return count;
}

Batch MakeBatch(const ExampleSource& source, std::span<const int64_t> rows, int64_t num_prompt_rows,
                at::Device device) {
  int64_t longest = 1;
  for (int64_t row : rows) {
    longest = std::max<int64_t>(longest, static_cast<int64_t>(source.Get(row).ids.size()));
  }
  Batch batch;
  const int64_t stride = num_prompt_rows + longest;
  std::vector<int64_t> ids(rows.size() * longest, 0);
  std::vector<int64_t> positions, targets;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Example example = source.Get(rows[i]);
    const int64_t length = static_cast<int64_t>(example.ids.size());
    std::copy(example.ids.begin(), example.ids.end(), ids.begin() + i * longest);
    for (int64_t t = FirstTarget(example, num_prompt_rows); t < length; ++t) {
      positions.push_back(static_cast<int64_t>(i) * stride + num_prompt_rows + t - 1);
      targets.push_back(example.ids[t]);
    }
  }
  // One copy to the device for all of it.
  std::vector<int64_t> all = std::move(ids);
  const auto num_ids = static_cast<int64_t>(all.size());
  const auto num_labels = static_cast<int64_t>(targets.size());
  all.insert(all.end(), positions.begin(), positions.end());
  all.insert(all.end(), targets.begin(), targets.end());
  const at::Tensor there = at::tensor(all, at::kLong).to(device);
  batch.ids = there.narrow(0, 0, num_ids).view({static_cast<int64_t>(rows.size()), longest});
  batch.positions = there.narrow(0, num_ids, num_labels);
  batch.targets = there.narrow(0, num_ids + num_labels, num_labels);
  return batch;
}

}  // namespace graft
