#include "client/cli/next_steps.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

v1::Job FineTune(v1::JobState state) {
  v1::Job job;
  job.set_name("jobs/k3f9");
  job.set_state(state);
  v1::FineTuneSpec& spec = *job.mutable_resolved_spec()->mutable_fine_tune();
  spec.set_base_model("gpt2");
  spec.mutable_data()->set_train("articles");
  spec.mutable_data()->set_source_field("document");
  spec.mutable_data()->set_target_field("summary");
  spec.mutable_data()->set_max_source_tokens(512);
  spec.mutable_method()->mutable_lora()->set_learning_rate(2e-4);
  spec.mutable_training()->set_batch_size(8);
  spec.mutable_training()->set_gradient_accumulation_steps(2);
  return job;
}

v1::Job Failed(v1::FailureClass failure_class) {
  v1::Job job = FineTune(v1::JOB_STATE_FAILED);
  job.set_failure_class(failure_class);
  return job;
}

TEST(NextStepsTest, AnAdapterIsDownloadedAndEvaluated) {
  v1::Job job = FineTune(v1::JOB_STATE_SUCCEEDED);
  job.mutable_result()->set_adapter("news-lora");
  EXPECT_EQ(NextSteps(job, "graft"),
            "next:\n"
            "  graft adapters download news-lora\n"
            "  graft eval --adapter news-lora --data test.jsonl --watch\n");
  EXPECT_THAT(NextSteps(job, "graft --server h:1"),
              HasSubstr("  graft --server h:1 adapters download news-lora\n"));
}

TEST(NextStepsTest, AModelIsEvaluatedAndAnEvaluationLookedAt) {
  v1::Job full = FineTune(v1::JOB_STATE_SUCCEEDED);
  full.mutable_result()->set_model("mine");
  EXPECT_EQ(NextSteps(full, "graft"),
            "next:\n  graft eval --base-model mine --data test.jsonl --watch\n");
  v1::Job evaluation;
  evaluation.set_name("jobs/e1");
  evaluation.set_state(v1::JOB_STATE_SUCCEEDED);
  evaluation.mutable_resolved_spec()->mutable_evaluate();
  EXPECT_EQ(NextSteps(evaluation, "graft"),
            "next:\n  graft show jobs/e1\n  graft compare OTHER jobs/e1\n");
  evaluation.mutable_result()->mutable_fingerprint()->set_num_samples(3);
  EXPECT_THAT(NextSteps(evaluation, "graft"),
              HasSubstr("graft artifacts download jobs/e1 predictions.jsonl\n"));
}

TEST(NextStepsTest, ACancelledJobHasNone) {
  EXPECT_THAT(NextSteps(FineTune(v1::JOB_STATE_CANCELLED), "graft"), IsEmpty());
}

TEST(NextStepsTest, BadDataAreMendedOrOtherFieldsNamed) {
  const std::string text = NextSteps(Failed(v1::FAILURE_CLASS_DATA), "graft");
  EXPECT_THAT(text, HasSubstr("row and the field that are named above"));
  EXPECT_THAT(text, HasSubstr("--source-field document --target-field summary"));
  EXPECT_THAT(text, HasSubstr("  graft datasets preview articles --base-model gpt2\n"));
  v1::Job plain = Failed(v1::FAILURE_CLASS_DATA);
  plain.mutable_resolved_spec()->mutable_fine_tune()->mutable_data()->set_text_field("text");
  EXPECT_THAT(NextSteps(plain, "graft"), HasSubstr("--text-field text"));
  EXPECT_THAT(NextSteps(plain, "graft"), Not(HasSubstr("--source-field")));
}

TEST(NextStepsTest, ABadSettingIsChangedAndTheOthersKept) {
  const std::string text = NextSteps(Failed(v1::FAILURE_CLASS_CONFIG), "graft");
  EXPECT_THAT(text, HasSubstr("  graft show --json jobs/k3f9 >job.json\n"
                              "  graft submit --file job.json --FLAG VALUE --watch\n"));
}

TEST(NextStepsTest, LessMemoryIsASmallerBatchOfTheSameUpdate) {
  v1::Job job = Failed(v1::FAILURE_CLASS_OUT_OF_MEMORY);
  EXPECT_THAT(NextSteps(job, "graft"), HasSubstr("graft submit --file job.json --batch-size 4 "
                                                 "--gradient-accumulation-steps 4 --watch"));
  v1::TrainingSpec& training =
      *job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training();
  training.set_batch_size(5);
  EXPECT_THAT(NextSteps(job, "graft"),
              HasSubstr("--batch-size 1 --gradient-accumulation-steps 10 "));
  training.set_batch_size(1);
  EXPECT_THAT(NextSteps(job, "graft"), HasSubstr("--file job.json --max-source-tokens 256 "));

  v1::Job evaluation;
  evaluation.set_state(v1::JOB_STATE_FAILED);
  evaluation.set_failure_class(v1::FAILURE_CLASS_OUT_OF_MEMORY);
  evaluation.mutable_resolved_spec()->mutable_evaluate()->set_batch_size(8);
  EXPECT_THAT(NextSteps(evaluation, "graft"),
              HasSubstr("graft eval --file job.json --batch-size 4 --watch"));
}

TEST(NextStepsTest, DivergenceWantsALowerLearningRate) {
  v1::Job job = Failed(v1::FAILURE_CLASS_DIVERGED);
  EXPECT_THAT(NextSteps(job, "graft"), HasSubstr("(now 0.0002)"));
  EXPECT_THAT(NextSteps(job, "graft"), HasSubstr("--learning-rate 2e-05 --watch"));
  // Of a hybrid each part has its own, which the flag would level.
  job.mutable_resolved_spec()
      ->mutable_fine_tune()
      ->mutable_method()
      ->mutable_soft_prompt()
      ->set_learning_rate(3e-2);
  EXPECT_THAT(NextSteps(job, "graft"), HasSubstr("lower learning rates of the method's parts"));
  EXPECT_THAT(NextSteps(job, "graft"), Not(HasSubstr("--learning-rate")));
}

TEST(NextStepsTest, ALostMachineIsLookedAt) {
  v1::Job job = Failed(v1::FAILURE_CLASS_INFRASTRUCTURE);
  job.add_attempts()->set_worker("w-1");
  job.add_attempts()->set_worker("w-2");
  const std::string text = NextSteps(job, "graft");
  EXPECT_THAT(text, HasSubstr("  graft logs jobs/k3f9\n  graft show jobs/k3f9\n"));
  EXPECT_THAT(text, HasSubstr("the log of worker w-2 "));
  EXPECT_THAT(text, HasSubstr("  graft retry jobs/k3f9 --watch\n"));
}

TEST(NextStepsTest, WhatWasCancelledOnItsWayMayGoOn) {
  v1::Job job;
  job.set_name("jobs/k3f9");
  job.set_state(v1::JOB_STATE_CANCELLED);
  job.mutable_resolved_spec()->mutable_fine_tune();
  EXPECT_EQ(NextSteps(job, "graft"), "");
  job.set_step(7);
  EXPECT_THAT(NextSteps(job, "graft"), HasSubstr("  graft retry jobs/k3f9\n"));
}

TEST(NextStepsTest, OurOwnBugsAreReported) {
  for (const auto failure : {v1::FAILURE_CLASS_INTERNAL, v1::FAILURE_CLASS_UNSPECIFIED}) {
    EXPECT_THAT(NextSteps(Failed(failure), "graft"), HasSubstr("  graft logs jobs/k3f9\n"));
  }
}

// Commands are copied from a terminal.
TEST(NextStepsTest, LinesFitATerminal) {
  for (int failure = 0; failure < v1::FailureClass_ARRAYSIZE; ++failure) {
    std::string text = NextSteps(Failed(static_cast<v1::FailureClass>(failure)), "graft");
    size_t length = 0;
    for (const char c : text) {
      length = c == '\n' ? 0 : length + 1;
      EXPECT_LE(length, 90u) << text;
    }
  }
}

}  // namespace
}  // namespace graft
