#include "common/base/sha256.h"
#include "tests/worker/engine/session/session_fixture.h"

namespace graft {
namespace {

class MeasureTest : public SessionTest {
 protected:
  std::string Sha256OfAdapter(const FineTuneRequest& request) {
    FineTune(request);
    return *Sha256HexOfFile(JoinPath(request.output_directory, "adapter_model.safetensors"));
  }
};

TEST_F(MeasureTest, TellsWhatAJobWouldTakeAndKeepsNothingOfIt) {
  const FineTuneRequest request = LoraRequest();
  NoStop stop;
  const absl::StatusOr<MeasureOutcome> measured = session_->Measure(request, 20, stop);
  ASSERT_TRUE(measured.ok()) << measured.status();
  EXPECT_EQ(measured->batch_size, 4);
  EXPECT_EQ(measured->gradient_accumulation_steps, 1);
  EXPECT_GT(measured->data_seconds, 0);
  EXPECT_GT(measured->step_seconds, 0);
  EXPECT_DOUBLE_EQ(measured->train_seconds, 6 * measured->step_seconds);  // Two epochs of three.
  ASSERT_TRUE(measured->evaluate_seconds.has_value());
  EXPECT_GT(*measured->evaluate_seconds, 0);
  EXPECT_GT(measured->peak_memory_bytes, 0);
  EXPECT_EQ(measured->execution.device, "cpu");
  EXPECT_EQ(measured->execution.precision, "fp32");
  EXPECT_EQ(measured->execution.threads, 1);
  EXPECT_FALSE(FileExists(request.output_directory));
  EXPECT_FALSE(FileExists(request.checkpoint_directory));

  // Another job in the same engine has the numbers that it has in a fresh one.
  const std::string after = Sha256OfAdapter(LoraRequest("after"));
  TearDownTestSuite();
  SetUpTestSuite();
  EXPECT_EQ(after, Sha256OfAdapter(LoraRequest("fresh")));
}

TEST_F(MeasureTest, WithoutValidationThereIsNoneToMeasure) {
  FineTuneRequest request = LoraRequest();
  request.validation = {};
  NoStop stop;
  const absl::StatusOr<MeasureOutcome> measured = session_->Measure(request, 20, stop);
  ASSERT_TRUE(measured.ok()) << measured.status();
  EXPECT_EQ(measured->evaluate_seconds, 0);
  request.config.evaluation.train_row_losses = true;
  const absl::StatusOr<MeasureOutcome> with_losses = session_->Measure(request, 20, stop);
  ASSERT_TRUE(with_losses.ok()) << with_losses.status();
  EXPECT_GT(with_losses->evaluate_seconds, 0) << "of the training rows at the end";
}

TEST_F(MeasureTest, WhatCannotBeReadSaysWhy) {
  FineTuneRequest request = LoraRequest();
  request.train = {folder_.Write("bad.jsonl", "{\"document\": 1}\n"), "", "bad"};
  NoStop stop;
  EXPECT_EQ(session_->Measure(request, 20, stop).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// Says so after so many questions.
class StopAfter : public StopToken {
 public:
  explicit StopAfter(int polls) : left_(polls) {}
  absl::Status Poll() override {
    return left_-- > 0 ? absl::OkStatus() : absl::CancelledError("enough");
  }

 private:
  int left_;
};

TEST_F(MeasureTest, WhatIsStoppedTellsWhatItHasSeen) {
  int with_steps = 0, whole = 0;
  for (int polls = 0; whole == 0; ++polls) {
    StopAfter stop(polls);
    const absl::StatusOr<MeasureOutcome> measured = session_->Measure(LoraRequest(), 0, stop);
    if (!measured.ok()) {
      EXPECT_TRUE(absl::IsCancelled(measured.status())) << measured.status();
      EXPECT_EQ(with_steps, 0);
    } else if (measured->evaluate_seconds.has_value()) {
      ++whole;
    } else {
      EXPECT_GT(measured->train_seconds, 0);
      ++with_steps;
    }
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_GT(with_steps, 0);
}

}  // namespace
}  // namespace graft
