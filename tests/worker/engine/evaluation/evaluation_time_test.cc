#include "worker/engine/evaluation/evaluation_time.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/methods/lora.h"
#include "tests/common/text/test_files.h"
#include "tests/worker/engine/metronome.h"
#include "tests/worker/engine/tiny_model.h"
#include "worker/engine/adapters/adapter_set.h"
#include "worker/engine/evaluation/summaries.h"

namespace graft {
namespace {

class EqualRows : public ExampleSource {
 public:
  explicit EqualRows(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }
  Example Get(int64_t) const override { return {ids_, 2}; }

 private:
  const int64_t size_;
  const std::vector<int32_t> ids_ = {5, 9, 2, 7, 3, 1};
};

class EvaluationTimeTest : public ::testing::Test {
 protected:
  EvaluationTimeTest() {
    WriteTinyModel(JoinPath(folder_.path(), "model"));
    model_ = *Gpt2Model::Load(JoinPath(folder_.path(), "model"), {});
    tokenizer_ =
        std::make_unique<BpeTokenizer>(*BpeTokenizer::Load(JoinPath(folder_.path(), "model")));
    MethodConfig method;
    method.Set(LoraConfig{.rank = 2});
    adapter_ = *AdapterSet::Create(*model_, method, /*seed=*/1);
    sample_.tokenizer = tokenizer_.get();
    sample_.validation = &validation_;
    sample_.batch_size = 2;
    sample_.data.max_source_tokens = 12;
    sample_.data.max_target_tokens = 8;
    sample_.evaluation.max_new_tokens = 28;
    sample_.evaluation.generation_batch_size = 3;
  }

  absl::StatusOr<EvaluationTime> Measure() {
    const Gpt2Network network = adapter_->Bind();
    return MeasureEvaluation(network, sample_, stop_, clock_);
  }

  const TemporaryFolder folder_;
  std::unique_ptr<Gpt2Model> model_;
  std::unique_ptr<BpeTokenizer> tokenizer_;
  std::unique_ptr<AdapterSet> adapter_;
  const EqualRows validation_{20};
  EvaluationSample sample_;
  FakeClock clock_;
  Metronome stop_{clock_};
};

TEST_F(EvaluationTimeTest, TheLossTakesWhatItsRowsTake) {
  const absl::StatusOr<EvaluationTime> time = Measure();
  ASSERT_TRUE(time.ok()) << time.status();
  EXPECT_DOUBLE_EQ(time->seconds, 10);  // Twenty rows, two a batch.
  sample_.num_loss_rows = 1;
  EXPECT_DOUBLE_EQ(Measure()->seconds, 20);  // A row takes a second by this clock.
}

TEST_F(EvaluationTimeTest, TextsTakeWhatTheWholeEvaluationTakes) {
  for (int i = 0; i < 3; ++i) {
    DataRow row;
    row.source = absl::StrCat("the ", i, " cats");
    sample_.rows.push_back(row);
  }
  sample_.num_texts = 12;
  const absl::StatusOr<EvaluationTime> time = Measure();
  ASSERT_TRUE(time.ok()) << time.status();

  const absl::Duration start = clock_.Boottime();
  SummaryOptions options = {tokenizer_.get(), sample_.data, sample_.evaluation, {}};
  const Gpt2Network network = adapter_->Bind();
  const Gpt2Network* const networks[] = {&network};
  const auto texts = Summarise(networks, options, sample_.rows, 0, stop_);
  ASSERT_TRUE(texts.ok()) << texts.status();
  for (const Summary& text : (*texts)[0]) ASSERT_FALSE(text.ended);
  const double batch = absl::ToDoubleSeconds(clock_.Boottime() - start);
  EXPECT_GE(batch, 27);
  // After the last question there is a step, too, which takes no time by this clock.
  EXPECT_NEAR(time->seconds, 10 + 4 * (batch + 1), 1e-6);

  // Of fewer texts at once the prompts take their share; a step takes a second by this clock
  // however many it is for.
  for (const size_t some : {2, 1}) {
    sample_.rows.resize(some);
    const absl::StatusOr<EvaluationTime> fewer = Measure();
    ASSERT_TRUE(fewer.ok()) << fewer.status();
    EXPECT_NEAR(fewer->seconds, 10 + 2 * 12 / static_cast<double>(some) + 4 * 27, 1e-6);
  }
}

}  // namespace
}  // namespace graft
