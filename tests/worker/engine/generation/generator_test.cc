#include "worker/engine/generation/generator.h"

#include <gmock/gmock.h>

#include "tests/worker/engine/golden.h"

namespace graft {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr int32_t kNeverEnds = 47;

// The prompts of the golden rows 0 to 2.
std::vector<Ids> GoldenPrompts() {
  const GoldenRows rows;
  std::vector<Ids> prompts;
  for (int64_t row = 0; row < 3; ++row) {
    const Example example = rows.Get(row);
    prompts.emplace_back(example.ids.begin(), example.ids.begin() + example.num_prompt_tokens);
  }
  return prompts;
}

Ids GoldenGreedy(int row) {
  const at::Tensor tokens = GoldenTensor("base/greedy/" + std::to_string(row)).to(at::kInt);
  return {tokens.const_data_ptr<int32_t>(), tokens.const_data_ptr<int32_t>() + tokens.numel()};
}

class GeneratorTest : public testing::Test {
 protected:
  std::vector<Generated> Run(const std::vector<Ids>& prompts, const GeneratorOptions& options) {
    auto generated = Generate(network(), prompts, options, stop_);
    if (!generated.ok()) ADD_FAILURE() << generated.status();
    return *std::move(generated);
  }
  const Gpt2Network& network() { return model_->network(); }

  const std::unique_ptr<Gpt2Model> model_ = GoldenModel();
  NoStop stop_;
  GeneratorOptions options_ = {{}, 6, 16, kNeverEnds, 0};
};

TEST_F(GeneratorTest, GreedyTokensAreThoseOfTransformers) {
  const std::vector<Generated> generated = Run(GoldenPrompts(), options_);
  ASSERT_EQ(generated.size(), 3u);
  for (int row = 0; row < 3; ++row) {
    EXPECT_THAT(generated[static_cast<size_t>(row)].ids, ElementsAreArray(GoldenGreedy(row)));
    EXPECT_FALSE(generated[static_cast<size_t>(row)].ended);
  }
}

TEST_F(GeneratorTest, ABatchGivesEachRowWhatItGetsAlone) {
  const std::vector<Ids> prompts = {{1}, {5, 9, 2, 7, 7, 3}, {40, 3}, {8, 8, 8}, {2, 4, 6, 8, 10}};
  for (const bool sample : {false, true}) {
    options_.generation.do_sample = sample;
    options_.batch_size = 16;
    options_.first_row = 0;
    // An id that comes up, so that rows end at different times.
    options_.end_of_text_id = kNeverEnds;
    options_.end_of_text_id = Run(prompts, options_)[1].ids[2];
    const std::vector<Generated> together = Run(prompts, options_);
    bool one_ended = false;
    for (size_t i = 0; i < prompts.size(); ++i) {
      options_.first_row = static_cast<int64_t>(i);
      const std::vector<Generated> alone = Run({prompts[i]}, options_);
      EXPECT_EQ(alone[0].ids, together[i].ids) << "row " << i << ", sampled " << sample;
      EXPECT_EQ(alone[0].ended, together[i].ended);
      one_ended = one_ended || alone[0].ended;
    }
    EXPECT_TRUE(one_ended);
  }
}

TEST_F(GeneratorTest, StopsAtEndOfTextAndLeavesItOut) {
  const Ids greedy = GoldenGreedy(0);
  options_.end_of_text_id = greedy[3];
  const Generated generated = Run({GoldenPrompts()[0]}, options_)[0];
  const auto first = std::find(greedy.begin(), greedy.end(), greedy[3]);
  EXPECT_THAT(generated.ids, ElementsAreArray(Ids(greedy.begin(), first)));
  EXPECT_TRUE(generated.ended);
}

TEST_F(GeneratorTest, TellsOfEveryTokenAsItComes) {
  std::vector<Ids> told(3);
  const auto generated = Generate(
      network(), GoldenPrompts(), options_, stop_,
      [&](int64_t prompt, int32_t id) { told[static_cast<size_t>(prompt)].push_back(id); });
  ASSERT_TRUE(generated.ok());
  for (size_t i = 0; i < told.size(); ++i) EXPECT_EQ(told[i], (*generated)[i].ids);
}

TEST_F(GeneratorTest, AnEmptyPromptBeginsWithEndOfText) {
  const std::vector<Generated> generated = Run({{}, {kNeverEnds}}, options_);
  EXPECT_EQ(generated[0].ids, generated[1].ids);
}

TEST_F(GeneratorTest, RefusesWhatDoesNotFitTheModel) {
  const auto status = [&](const Ids& prompt, int64_t max_new_tokens) {
    options_.max_new_tokens = max_new_tokens;
    const std::vector<Ids> prompts = {prompt};
    return Generate(network(), prompts, options_, stop_).status();
  };
  EXPECT_TRUE(status(Ids(20, 1), 4).ok());
  const absl::Status too_long = status(Ids(21, 1), 4);
  EXPECT_EQ(too_long.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(too_long.message()), HasSubstr("24 positions"));
  EXPECT_EQ(status({48}, 4).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({-1}, 4).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({1}, 0).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GeneratorTest, IsAskedBeforeEveryDecodeStepWhetherToStop) {
  class StopLater : public StopToken {
   public:
    absl::Status Poll() override {
      return ++polls == 4 ? absl::CancelledError("stop") : absl::OkStatus();
    }
    int polls = 0;
  } stop;
  int tokens = 0;
  const auto generated = Generate(network(), std::vector<Ids>{{1, 2}}, options_, stop,
                                  [&](int64_t, int32_t) { ++tokens; });
  EXPECT_EQ(generated.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(tokens, 3);
}

}  // namespace
}  // namespace graft
