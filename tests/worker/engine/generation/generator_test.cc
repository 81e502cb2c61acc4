#include "worker/engine/generation/generator.h"

#include <gmock/gmock.h>

#include <utility>

#include "tests/worker/engine/golden.h"
#include "tests/worker/engine/gpt2/several_networks.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/tensor_limit.h"
#include "worker/engine/gpt2/tensor_memory.h"

namespace graft {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr int32_t kNeverEnds = 47;

// The prompts of the first golden rows.
std::vector<Ids> GoldenPrompts(int64_t count = 3) {
  const GoldenRows rows;
  std::vector<Ids> prompts;
  for (int64_t row = 0; row < count; ++row) {
    const Example example = rows.Get(row);
    prompts.emplace_back(example.ids.begin(), example.ids.begin() + example.num_prompt_tokens);
  }
  return prompts;
}

Ids GoldenIdsOf(const std::string& name, const std::string& file) {
  const at::Tensor tokens = GoldenTensor(name, file).to(at::kInt);
  return {tokens.const_data_ptr<int32_t>(), tokens.const_data_ptr<int32_t>() + tokens.numel()};
}

Ids GoldenGreedy(int row) {
  return GoldenIdsOf(absl::StrCat("base/greedy/", row), "golden.safetensors");
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
  GeneratorOptions options_ = {{}, 6, 16, kNeverEnds};
};

TEST_F(GeneratorTest, GreedyTokensAreThoseOfTransformers) {
  const std::vector<Generated> generated = Run(GoldenPrompts(), options_);
  ASSERT_EQ(generated.size(), 3u);
  for (int row = 0; row < 3; ++row) {
    EXPECT_THAT(generated[static_cast<size_t>(row)].ids, ElementsAreArray(GoldenGreedy(row)));
    EXPECT_FALSE(generated[static_cast<size_t>(row)].ended);
  }
}

// What batches there are changes no text.
TEST_F(GeneratorTest, WithLittleMemoryItGoesOnWithFewerPromptsAtOnce) {
  CountCpuTensors();
  const std::vector<Ids> prompts = GoldenPrompts(5);
  for (const int64_t beams : {1, 3}) {
    options_.generation.num_beams = beams;
    int64_t told = 0;
    options_.on_done = [&](int64_t count) { told += count; };
    const int64_t used = TensorMemoryOf(at::kCPU).used_bytes;
    ResetPeak(at::kCPU);
    const std::vector<Generated> whole = Run(prompts, options_);
    const int64_t room = TensorMemoryOf(at::kCPU).peak_bytes - used;
    EXPECT_EQ(std::exchange(told, 0), 5);
    LimitCpuTensors(used + room / 2);
    const std::vector<Generated> halved = Run(prompts, options_);
    LimitCpuTensors(used + room / 100);
    const auto none = Generate(network(), prompts, options_, stop_);
    LimitCpuTensors(0);
    EXPECT_EQ(told, 5);
    ASSERT_EQ(halved.size(), whole.size());
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_THAT(halved[i].ids, ElementsAreArray(whole[i].ids));
    }
    EXPECT_TRUE(IsOutOfMemory(none.status())) << none.status();
  }
}

TEST_F(GeneratorTest, BeamsAndRulesGiveTheTokensOfTransformers) {
  using Stopping = BeamEarlyStopping;
  struct Search {
    const char* name;
    int64_t num_beams;
    double length_penalty;
    Stopping early_stopping;
    double repetition_penalty;
    int64_t no_repeat_ngram_size;
  };
  constexpr Search kSearches[] = {
      {"beam", 4, 1, Stopping::kFalse, 1, 0},         {"beam_long", 4, 2, Stopping::kTrue, 1, 0},
      {"beam_short", 4, -1, Stopping::kTrue, 1, 0},   {"beam_never", 3, 1, Stopping::kNever, 1, 0},
      {"repetition", 1, 1, Stopping::kFalse, 1.5, 0}, {"ngram", 1, 1, Stopping::kFalse, 1, 2},
      {"all", 3, 0.5, Stopping::kTrue, 1.3, 2}};
  options_.max_new_tokens = 14;
  options_.end_of_text_id = 35;
  for (const Search& search : kSearches) {
    options_.generation.num_beams = search.num_beams;
    options_.generation.length_penalty = search.length_penalty;
    options_.generation.early_stopping = search.early_stopping;
    options_.generation.repetition_penalty = search.repetition_penalty;
    options_.generation.no_repeat_ngram_size = search.no_repeat_ngram_size;
    const std::vector<Generated> generated = Run(GoldenPrompts(5), options_);
    for (size_t row = 0; row < 5; ++row) {
      Ids ids = generated[row].ids;
      if (generated[row].ended) ids.push_back(options_.end_of_text_id);
      EXPECT_EQ(ids, GoldenIdsOf(absl::StrCat(search.name, "/", row), "generation.safetensors"))
          << search.name << " " << row;
    }
  }
}

TEST_F(GeneratorTest, ABatchGivesEachRowWhatItGetsAlone) {
  const std::vector<Ids> prompts = {{1}, {5, 9, 2, 7, 7, 3}, {40, 3}, {8, 8, 8}, {2, 4, 6, 8, 10}};
  enum { kGreedy, kSampled, kBeams, kModes };
  for (int mode = kGreedy; mode < kModes; ++mode) {
    options_.generation = {};
    options_.generation.do_sample = mode == kSampled;
    options_.generation.num_beams = mode == kBeams ? 3 : 1;
    options_.generation.repetition_penalty = 1.1;
    options_.generation.no_repeat_ngram_size = 3;
    // An id that comes up, so that rows end at different times.
    options_.end_of_text_id = kNeverEnds;
    options_.end_of_text_id = Run(prompts, options_)[1].ids[2];
    int64_t done = 0;
    options_.on_done = [&](int64_t more) { done += more; };
    std::vector<Generated> alone;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const Prompt prompt[] = {{&network(), prompts[i], static_cast<int64_t>(i)}};
      alone.push_back((*Generate(prompt, options_, stop_))[0]);
    }
    EXPECT_TRUE(std::any_of(alone.begin(), alone.end(), [](const auto& row) { return row.ended; }));
    // With 2 the rows that wait take the places of those that are done.
    for (const int64_t batch_size : {16, 2}) {
      options_.batch_size = batch_size;
      done = 0;
      const std::vector<Generated> together = Run(prompts, options_);
      EXPECT_EQ(done, 5);
      for (size_t i = 0; i < prompts.size(); ++i) {
        EXPECT_EQ(alone[i].ids, together[i].ids) << "row " << i << ", mode " << mode;
        EXPECT_EQ(alone[i].ended, together[i].ended);
      }
    }
  }
}

TEST_F(GeneratorTest, PromptsOfSeveralNetworksGetWhatTheyGetAlone) {
  const std::vector<Gpt2Network> networks = NetworksOfAllKinds(*model_);
  const std::vector<Ids> texts = {{1}, {5, 9, 2, 7}, {40, 3}, {}, {2, 4, 6}, {8, 8}, {11}};
  for (const int64_t num_beams : {1, 2}) {
    options_.generation.num_beams = num_beams;
    options_.batch_size = 3;
    std::vector<Prompt> prompts;
    for (size_t i = 0; i < texts.size(); ++i) prompts.push_back({&networks[i % 5], texts[i]});
    const auto together = Generate(prompts, options_, stop_);
    ASSERT_TRUE(together.ok()) << together.status();
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto alone = Generate(std::span(&prompts[i], 1), options_, stop_);
      ASSERT_TRUE(alone.ok()) << alone.status();
      EXPECT_EQ((*together)[i].ids, (*alone)[0].ids) << "row " << i << ", beams " << num_beams;
    }
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

TEST_F(GeneratorTest, TellsOfTheBestBeamWhenItIsKnown) {
  options_.generation.num_beams = 3;
  options_.end_of_text_id = 35;
  std::vector<Ids> told(5);
  const auto generated = Generate(
      network(), GoldenPrompts(5), options_, stop_,
      [&](int64_t prompt, int32_t id) { told[static_cast<size_t>(prompt)].push_back(id); });
  ASSERT_TRUE(generated.ok());
  for (size_t i = 0; i < told.size(); ++i) EXPECT_EQ(told[i], (*generated)[i].ids);
}

TEST_F(GeneratorTest, RefusesBeamsThatSample) {
  options_.generation.num_beams = 2;
  options_.generation.do_sample = true;
  const absl::Status status = Generate(network(), GoldenPrompts(), options_, stop_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("num_beams"));
}

TEST_F(GeneratorTest, AnEmptyPromptBeginsWithEndOfText) {
  const std::vector<Generated> generated = Run({{}, {kNeverEnds}}, options_);
  EXPECT_EQ(generated[0].ids, generated[1].ids);
  // A prefix has keys, but no row whose logits could be read.
  Gpt2Network prefixed = network();
  at::manual_seed(1);
  for (BlockTensors& block : prefixed.blocks) {
    const auto random = [&] {
      return at::randn({prefixed.num_heads, 2, prefixed.width() / prefixed.num_heads},
                       prefixed.wte.options());
    };
    block.prefix = {random(), random()};
  }
  const auto behind = Generate(prefixed, std::vector<Ids>{{}, {kNeverEnds}}, options_, stop_);
  ASSERT_TRUE(behind.ok()) << behind.status();
  EXPECT_EQ((*behind)[0].ids, (*behind)[1].ids);
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
  stop.polls = 0;
  options_.generation.num_beams = 2;
  EXPECT_EQ(Generate(network(), std::vector<Ids>{{1, 2}}, options_, stop).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(stop.polls, 4);
}

}  // namespace
}  // namespace graft
