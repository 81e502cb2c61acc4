#pragma once

// What tests/golden/make_engine_golden.py made: a tiny GPT-2, adapters by PEFT, and float64 results
// of transformers and PEFT.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/formats/safetensors.h"
#include "worker/engine/data/example_source.h"
#include "worker/engine/gpt2/model.h"
#include "worker/engine/gpt2/tensor_io.h"

namespace graft {

inline std::string GoldenPath(const std::string& name) {
  return absl::StrCat(GRAFT_SOURCE_DIR, "/tests/golden/engine/", name);
}

inline std::unique_ptr<Gpt2Model> GoldenModel(at::ScalarType dtype = at::kDouble) {
  absl::StatusOr<std::unique_ptr<Gpt2Model>> model =
      Gpt2Model::Load(GoldenPath("model"), {at::kCPU, dtype});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

inline at::Tensor GoldenTensor(const std::string& name,
                               const std::string& file_name = "golden.safetensors") {
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(GoldenPath(file_name));
  EXPECT_TRUE(file.ok()) << file.status();
  const TensorView* view = file->Find(name);
  EXPECT_NE(view, nullptr) << name;
  return TensorFromView(*view)->clone();
}

// Largest absolute difference, as a share of the larger tensor's largest value (or of 1).
inline double RelativeDifference(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide_a = a.to(at::kDouble), wide_b = b.to(at::kDouble);
  const double scale = std::max(1.0, wide_b.abs().max().item<double>());
  return (wide_a - wide_b).abs().max().item<double>() / scale;
}

// The rows that the golden script trains on.
class GoldenRows : public ExampleSource {
 public:
  GoldenRows() {
    for (const auto& [prompt, length] :
         std::vector<std::pair<int, int>>{{4, 9}, {2, 5}, {6, 12}, {3, 4}, {1, 7}}) {
      std::vector<int32_t> ids;
      const int row = static_cast<int>(rows_.size());
      for (int t = 0; t < length; ++t) ids.push_back((7 * row + 3 * t * t + t) % 48);
      rows_.push_back(ids);
      prompts_.push_back(prompt);
    }
  }
  int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
  Example Get(int64_t index) const override { return {rows_[index], prompts_[index]}; }

 private:
  std::vector<std::vector<int32_t>> rows_;
  std::vector<int64_t> prompts_;
};

// Rows 0 to 2, padded on the right: [3, 12].
inline at::Tensor GoldenIds() {
  const GoldenRows rows;
  at::Tensor ids = at::zeros({3, 12}, at::kLong);
  for (int64_t row = 0; row < 3; ++row) {
    const Example example = rows.Get(row);
    for (size_t t = 0; t < example.ids.size(); ++t) ids[row][t] = example.ids[t];
  }
  return ids;
}

}  // namespace graft
