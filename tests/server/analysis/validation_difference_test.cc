#include "server/analysis/validation_difference.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A fine-tune job that was validated on the data set "valid", its texts scored.
Contestant FineTune(const std::string& label) {
  Contestant compared;
  compared.label = label;
  compared.job.set_name("jobs/" + label);
  v1::FineTuneSpec& spec = *compared.job.mutable_resolved_spec()->mutable_fine_tune();
  spec.mutable_training()->set_seed(42);
  v1::DataSpec& data = *spec.mutable_data();
  data.set_train("train");
  data.set_train_sha256(std::string(64, 'a'));
  data.set_validation("valid");
  data.set_validation_sha256(std::string(64, 'b'));
  data.set_prompt_template("{source}\nTL;DR:");
  data.set_max_source_tokens(512);
  data.set_max_target_tokens(128);
  v1::ScoringFingerprint& fingerprint = *compared.job.mutable_result()->mutable_fingerprint();
  fingerprint.set_num_samples(32);
  fingerprint.set_use_stemmer(true);
  fingerprint.set_decoding("greedy");
  fingerprint.set_max_new_tokens(128);
  return compared;
}

Contestant HeldOut(const std::string& label) {
  Contestant compared = FineTune(label);
  v1::DataSpec& data = *compared.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_data();
  data.clear_validation_sha256();
  data.set_validation_fraction(0.1);
  return compared;
}

v1::DataSpec& DataOf(Contestant& compared) {
  return *compared.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_data();
}

// What is said of b, a copy of a that `change` has been at.
std::string Said(Contestant a, const std::function<void(Contestant&)>& change) {
  Contestant b = a;
  b.label = "b";
  b.job.set_name("jobs/b");
  change(b);
  const auto differences = ValidationDifferences({std::move(a), std::move(b)});
  if (differences.empty()) return "";
  EXPECT_EQ(differences[0].label(), "b - a");
  EXPECT_EQ(differences[0].job(), "jobs/b");
  EXPECT_EQ(differences[0].to_job(), "jobs/a");
  const v1::ValidationDifference& one = differences[0];
  if (!one.not_comparable().empty()) return "rows: " + one.not_comparable();
  return "limits: " + one.limits() + "; scoring: " + one.scoring();
}

TEST(ValidationDifferenceTest, NothingIsSaidOfJobsThatWereValidatedAlike) {
  EXPECT_THAT(Said(FineTune("a"), [](Contestant&) {}), IsEmpty());
  EXPECT_THAT(Said(HeldOut("a"), [](Contestant&) {}), IsEmpty());
  EXPECT_THAT(ValidationDifferences({}), IsEmpty());
  EXPECT_THAT(ValidationDifferences({FineTune("a")}), IsEmpty());
}

TEST(ValidationDifferenceTest, OtherDataIsNotCompared) {
  EXPECT_EQ(Said(FineTune("a"),
                 [](Contestant& b) {
                   DataOf(b).set_validation("other");
                   DataOf(b).set_validation_sha256(std::string(64, 'c'));
                 }),
            "rows: validation is \"other\", not \"valid\"");
  // A data set that was replaced under its name.
  EXPECT_EQ(Said(FineTune("a"),
                 [](Contestant& b) { DataOf(b).set_validation_sha256(std::string(64, 'c')); }),
            "rows: \"valid\" had other content: SHA-256 cccccccccccc..., not bbbbbbbbbbbb...");
  EXPECT_THAT(Said(FineTune("a"), [](Contestant& b) { b = HeldOut("b"); }),
              HasSubstr("validation is held out of \"train\", not \"valid\""));
  EXPECT_THAT(Said(FineTune("a"), [](Contestant& b) { DataOf(b).clear_validation(); }),
              HasSubstr("validation is none, not \"valid\""));
}

TEST(ValidationDifferenceTest, TheSameContentByAnotherNameIsTheSameData) {
  EXPECT_THAT(Said(FineTune("a"), [](Contestant& b) { DataOf(b).set_validation("copy"); }),
              IsEmpty());
}

TEST(ValidationDifferenceTest, OtherRowsOfTheSameDataAreNotCompared) {
  const std::vector<std::pair<std::function<void(Contestant&)>, std::string>> cases = {
      {[](Contestant& b) { DataOf(b).set_validation_fraction(0.2); },
       "validation_fraction is 0.2, not 0.1"},
      {[](Contestant& b) {
         b.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_seed(7);
       },
       "seed is 7, not 42"},
      {[](Contestant& b) { DataOf(b).set_max_train_rows(100); }, "max_train_rows is 100, not 0"},
      {[](Contestant& b) { DataOf(b).set_max_validation_rows(8); },
       "max_validation_rows is 8, not 0"},
      {[](Contestant& b) { DataOf(b).set_train_sha256(std::string(64, 'c')); },
       "\"train\" had other content"},
      {[](Contestant& b) { DataOf(b).set_target_field("headline"); },
       "target_field is \"headline\", not \"\""},
  };
  for (const auto& [change, said] : cases) {
    EXPECT_EQ(Said(HeldOut("a"), change).find("rows: " + said), 0u) << said;
  }
}

TEST(ValidationDifferenceTest, WhatOnlyTrainsDoesNotMatterToAValidationSet) {
  EXPECT_THAT(
      Said(FineTune("a"),
           [](Contestant& b) {
             b.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_training()->set_seed(7);
             DataOf(b).set_max_train_rows(100);
             DataOf(b).set_train("other");
             DataOf(b).set_train_sha256(std::string(64, 'c'));
           }),
      IsEmpty());
}

TEST(ValidationDifferenceTest, OtherLimitsAndScoringAreNoted) {
  EXPECT_EQ(Said(FineTune("a"),
                 [](Contestant& b) {
                   DataOf(b).set_max_target_tokens(64);
                   DataOf(b).set_prompt_template("{source}:");
                   b.job.mutable_result()->mutable_fingerprint()->set_use_stemmer(false);
                   b.job.mutable_result()->mutable_fingerprint()->set_decoding("beam num_beams=4");
                 }),
            "limits: max_target_tokens is 64, not 128; prompt_template is \"{source}:\", not "
            "\"{source}\\nTL;DR:\"; scoring: use_stemmer is false, not true; decoding is \"beam "
            "num_beams=4\", not \"greedy\"");
}

TEST(ValidationDifferenceTest, ScoringDoesNotMatterWhereOneHasNoTexts) {
  EXPECT_THAT(Said(FineTune("a"), [](Contestant& b) { b.job.clear_result(); }), IsEmpty());
}

TEST(ValidationDifferenceTest, EachKindIsHeldAgainstTheFirstOfItsKind) {
  Contestant evaluation = FineTune("evaluation");
  v1::EvaluateSpec evaluate;
  *evaluate.mutable_data() = DataOf(evaluation);
  *evaluation.job.mutable_resolved_spec()->mutable_evaluate() = evaluate;
  Contestant other_evaluation = evaluation;
  other_evaluation.job.mutable_resolved_spec()->mutable_evaluate()->mutable_data()->set_validation(
      "other");
  // The second evaluation is compared row by row.
  const auto differences = ValidationDifferences({evaluation, HeldOut("first"), other_evaluation,
                                                  HeldOut("like the first"), FineTune("last")});
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].job(), "jobs/first");
  EXPECT_EQ(differences[0].to_job(), "jobs/evaluation");
  EXPECT_EQ(differences[1].job(), "jobs/last");
  EXPECT_EQ(differences[1].to_job(), "jobs/first");
}

}  // namespace
}  // namespace graft
