#include "worker/engine/training/batch.h"

#include <gtest/gtest.h>

#include "tests/worker/engine/golden.h"

namespace graft {
namespace {

std::vector<int64_t> Values(const at::Tensor& tensor) {
  const int64_t* values = tensor.const_data_ptr<int64_t>();
  return {values, values + tensor.numel()};
}

TEST(BatchTest, LabelsAreTheTokensAfterThePromptAndPadsAreNone) {
  const GoldenRows rows;  // Row 1: 2 + 3 tokens; row 3: 3 + 1.
  const std::vector<int64_t> chosen = {1, 3};
  const Batch batch = MakeBatch(rows, chosen, 0, at::kCPU);
  EXPECT_EQ(batch.ids.sizes(), (std::vector<int64_t>{2, 5}));
  EXPECT_EQ(Values(batch.positions), (std::vector<int64_t>{1, 2, 3, 5 + 2}));
  EXPECT_EQ(Values(batch.targets), (std::vector<int64_t>{rows.Get(1).ids[2], rows.Get(1).ids[3],
                                                         rows.Get(1).ids[4], rows.Get(3).ids[3]}));
  EXPECT_EQ(CountLabels(rows, chosen, 0), 4);
}

TEST(BatchTest, VirtualTokensShiftThePositions) {
  const std::vector<int64_t> chosen = {1, 3};
  const Batch batch = MakeBatch(GoldenRows(), chosen, 10, at::kCPU);
  EXPECT_EQ(Values(batch.positions), (std::vector<int64_t>{11, 12, 13, 15 + 12}));
}

class WholeText : public ExampleSource {
 public:
  int64_t size() const override { return 1; }
  Example Get(int64_t) const override { return {ids_, 0}; }

 private:
  std::vector<int32_t> ids_ = {5, 6, 7};
};

TEST(BatchTest, TheFirstTokenIsPredictedOnlyByAVirtualOne) {
  const std::vector<int64_t> chosen = {0};
  EXPECT_EQ(Values(MakeBatch(WholeText(), chosen, 0, at::kCPU).targets),
            (std::vector<int64_t>{6, 7}));
  const Batch prompted = MakeBatch(WholeText(), chosen, 2, at::kCPU);
  EXPECT_EQ(Values(prompted.targets), (std::vector<int64_t>{5, 6, 7}));
  EXPECT_EQ(Values(prompted.positions), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(CountLabels(WholeText(), chosen, 2), 3);
}

}  // namespace
}  // namespace graft
