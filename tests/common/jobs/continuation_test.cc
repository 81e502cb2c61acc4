#include "common/jobs/continuation.h"

#include <gmock/gmock.h>

#include <functional>

#include "tests/common/jobs/job_spec_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(CheckpointNameTest, IsReadAndWritten) {
  EXPECT_EQ(CheckpointName("jobs/k3f9", 120), "jobs/k3f9/checkpoints/120");
  const auto ref = ParseCheckpointName("jobs/k3f9/checkpoints/120", "f");
  ASSERT_TRUE(ref.ok()) << ref.status();
  EXPECT_EQ(ref->job, "k3f9");
  EXPECT_EQ(ref->step, 120);
  for (const char* bad :
       {"", "jobs/k3f9", "jobs/k3f9/checkpoints", "jobs/k3f9/checkpoints/",
        "jobs/k3f9/checkpoints/0", "jobs/k3f9/checkpoints/-1", "jobs/k3f9/checkpoints/+1",
        "jobs/k3f9/checkpoints/01", "jobs/k3f9/checkpoints/ 1", "jobs/k3f9/checkpoints/12x",
        "jobs//checkpoints/1", "jobs/../checkpoints/1", "jobs/a/checkpoints/1/2",
        "models/a/checkpoints/1"}) {
    const auto status = ParseCheckpointName(bad, "f").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(FieldsOf(status), ElementsAre("f")) << bad;
  }
}

TEST(CheckpointNameTest, AnAdapterIsNone) {
  v1::FineTuneSpec spec;
  EXPECT_FALSE(ContinuesJob(spec));
  spec.set_init_from("old");
  EXPECT_FALSE(ContinuesJob(spec));
  EXPECT_EQ(InitialAdapter(spec), "old");
  EXPECT_FALSE(InitialCheckpoint(spec).has_value());
  spec.set_init_from("jobs/a/checkpoints/3");
  EXPECT_TRUE(ContinuesJob(spec));
  EXPECT_EQ(InitialAdapter(spec), "");
  EXPECT_EQ(InitialCheckpoint(spec)->step, 3);
}

// What the server makes of a job that goes on from step 120 of one with LoraSpec.
class ContinuationTest : public JobSpecTest {
 protected:
  absl::Status GoOn(
      const std::function<void(v1::FineTuneSpec&)>& change,
      const std::function<void(v1::FineTuneSpec&)>& before = [](auto&) {}) {
    v1::JobSpec first = LoraSpec();
    before(*first.mutable_fine_tune());
    const v1::FineTuneSpec from = ResolvedFineTune(first);
    v1::JobSpec next = first;
    next.mutable_fine_tune()->set_init_from("jobs/a/checkpoints/120");
    change(*next.mutable_fine_tune());
    SpecFacts facts = FactsOf(next);
    facts.continued = &from;
    return ResolveSpec(next, facts, {.threads = 3}, "spec").status();
  }
};

TEST_F(ContinuationTest, MayBeLongerAndEvaluateAndSaveOtherwise) {
  EXPECT_TRUE(GoOn([](v1::FineTuneSpec& spec) {
                spec.set_output_name("longer");
                spec.mutable_evaluation()->set_max_samples(5);
                v1::TrainingSpec& training = *spec.mutable_training();
                training.set_epochs(20);
                training.set_eval_every_steps(7);
                training.mutable_checkpoint()->set_every_steps(3);
                training.mutable_early_stopping()->set_patience(9);
                training.mutable_early_stopping()->set_min_delta(0.1);
              }).ok());
  EXPECT_TRUE(
      GoOn([](v1::FineTuneSpec& spec) { spec.mutable_training()->set_max_steps(121); }).ok());
}

TEST_F(ContinuationTest, MayNotBeAnotherRun) {
  const auto fields = [&](const std::function<void(v1::FineTuneSpec&)>& change) {
    return FieldsOf(GoOn(change));
  };
  EXPECT_THAT(fields([](auto& spec) { spec.mutable_training()->set_batch_size(3); }),
              ElementsAre("spec.fine_tune.training.batch_size"));
  EXPECT_THAT(fields([](auto& spec) {
                spec.mutable_method()->mutable_lora()->set_rank(2);
                spec.mutable_training()->set_seed(7);
              }),
              ElementsAre("spec.fine_tune.method.lora.rank", "spec.fine_tune.training.seed"));
  EXPECT_THAT(fields([](auto& spec) {
                spec.mutable_method()->Clear();
                spec.mutable_method()->mutable_soft_prompt();
              }),
              ElementsAre("spec.fine_tune.method.lora", "spec.fine_tune.method.soft_prompt"));
  EXPECT_THAT(
      fields([](auto& spec) { spec.mutable_training()->set_precision(v1::PRECISION_BF16); }),
      ElementsAre("spec.fine_tune.training.precision"));
  EXPECT_THAT(fields([](auto& spec) { spec.mutable_data()->set_max_source_tokens(20); }),
              ElementsAre("spec.fine_tune.data.max_source_tokens"));
  EXPECT_THAT(fields([](auto& spec) { spec.mutable_data()->set_max_validation_rows(5); }),
              ElementsAre("spec.fine_tune.data.max_validation_rows"));
  EXPECT_THAT(fields([](auto& spec) { spec.mutable_training()->set_max_steps(120); }),
              ElementsAre("spec.fine_tune.training.max_steps"));
  const absl::Status status = GoOn([](auto& spec) { spec.mutable_training()->set_batch_size(3); });
  EXPECT_THAT(status.message(),
              HasSubstr("must be that of jobs/a, from whose checkpoint it goes on"));
}

// The installation's number of threads was another then, or none.
TEST_F(ContinuationTest, HasTheThreadsOfTheOtherJob) {
  for (const int then : {0, 8}) {
    const auto from = ResolveSpec(LoraSpec(), FactsOf(LoraSpec()), {.threads = then}, "spec");
    ASSERT_TRUE(from.ok()) << from.status();
    v1::JobSpec next = LoraSpec();
    next.mutable_fine_tune()->set_init_from("jobs/a/checkpoints/120");
    SpecFacts facts = FactsOf(next);
    facts.continued = &from->fine_tune();
    const auto resolved = ResolveSpec(next, facts, {.threads = 3}, "spec");
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    EXPECT_EQ(resolved->fine_tune().training().threads(), then);
    EXPECT_EQ(resolved->fine_tune().training().has_threads(), then > 0);
  }
}

TEST_F(ContinuationTest, OfAnotherBaseModelIsRefused) {
  const v1::FineTuneSpec from = ResolvedFineTune(LoraSpec());
  v1::JobSpec next = LoraSpec();
  next.mutable_fine_tune()->set_init_from("jobs/a/checkpoints/120");
  model_.set_sha256(std::string(64, 'f'));
  SpecFacts facts = FactsOf(next);
  facts.continued = &from;
  EXPECT_THAT(FieldsOf(ResolveSpec(next, facts, {.threads = 3}, "spec").status()),
              ElementsAre("spec.fine_tune.base_model_sha256"));
}

// The best evaluation so far is told by ROUGE of the same samples.
TEST_F(ContinuationTest, WhereRougeTellsTheBestItIsScoredAlike) {
  const auto by_rouge = [](v1::FineTuneSpec& spec) {
    spec.mutable_training()->mutable_early_stopping()->set_metric("eval/rougeL");
  };
  EXPECT_TRUE(GoOn([](auto& spec) { spec.mutable_training()->set_epochs(20); }, by_rouge).ok());
  EXPECT_THAT(
      FieldsOf(GoOn([](auto& spec) { spec.mutable_evaluation()->set_max_samples(5); }, by_rouge)),
      ElementsAre("spec.fine_tune.evaluation.max_samples"));
  EXPECT_THAT(FieldsOf(GoOn(by_rouge)),
              testing::Contains("spec.fine_tune.training.early_stopping.metric"));
}

TEST_F(ContinuationTest, OfAnEvaluationOrNobodyIsRefused) {
  v1::JobSpec spec = LoraSpec();
  spec.mutable_fine_tune()->set_init_from("jobs/a/checkpoints/120");
  EXPECT_THAT(FieldsOf(Resolve(spec).status()), ElementsAre("spec.fine_tune.init_from"));
  spec.mutable_fine_tune()->set_init_from("jobs/a/checkpoint");
  EXPECT_THAT(FieldsOf(ValidateSpec(spec, "spec")), ElementsAre("spec.fine_tune.init_from"));
}

TEST_F(ContinuationTest, AFullTrainingGoesOnToo) {
  EXPECT_TRUE(GoOn([](auto& spec) { spec.mutable_training()->set_epochs(20); },
                   [](auto& spec) {
                     spec.mutable_method()->Clear();
                     spec.mutable_method()->mutable_full();
                   })
                  .ok());
}

}  // namespace
}  // namespace graft
