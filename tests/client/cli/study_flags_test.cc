#include "client/cli/study_flags.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

JobFlagValues Given(const std::map<std::string, std::string>& given) {
  JobFlagValues values;
  for (const JobFlag& flag : FineTuneFlags()) values.values[flag.name];
  for (const auto& [name, value] : given) values.values[name] = value;
  return values;
}

absl::StatusOr<v1::Study> StudyFrom(const std::map<std::string, std::string>& given) {
  v1::Job base;
  base.mutable_spec()->mutable_fine_tune();
  return StudyFromFlags(FineTuneFlags(), Given(given), base);
}

v1::Study Made(const std::map<std::string, std::string>& given) {
  const auto study = StudyFrom(given);
  EXPECT_TRUE(study.ok()) << study.status();
  return study.ok() ? *study : v1::Study();
}

const google::protobuf::ListValue Values(const v1::Study& study, const std::string& path) {
  google::protobuf::ListValue list;
  *list.mutable_values() = study.space().at(path).choices().values();
  return list;
}

TEST(StudyFlagsTest, AFlagWithSeveralValuesIsADimension) {
  const v1::Study study = Made({{"--base-model", "m"},
                                {"--method", "lora"},
                                {"--rank", "2, 4,2"},
                                {"--learning-rate", "1e-3,1e-4"},
                                {"--schedule", "linear,cosine"},
                                {"--use-rslora", "true,false"},
                                {"--seed", "1,18446744073709551615"},
                                {"--target-modules", "c_attn,c_proj"},
                                {"--epochs", "3"}});
  EXPECT_EQ(study.spec_template().fine_tune().base_model(), "m");
  EXPECT_EQ(study.spec_template().fine_tune().training().epochs(), 3);
  EXPECT_THAT(study.spec_template().fine_tune().method().lora().target_modules(),
              ElementsAre("c_attn", "c_proj"))
      << "a list is one value";
  EXPECT_FALSE(study.spec_template().fine_tune().method().lora().has_rank());
  EXPECT_THAT(study.space(), UnorderedElementsAre(Key("fine_tune.method.lora.rank"),
                                                  Key("fine_tune.training.learning_rate"),
                                                  Key("fine_tune.training.schedule"),
                                                  Key("fine_tune.method.lora.use_rslora"),
                                                  Key("fine_tune.training.seed")));
  ASSERT_THAT(Values(study, "fine_tune.method.lora.rank").values(), SizeIs(2)) << "each once";
  EXPECT_EQ(Values(study, "fine_tune.method.lora.rank").values(1).number_value(), 4);
  EXPECT_EQ(Values(study, "fine_tune.training.schedule").values(1).string_value(),
            "SCHEDULE_COSINE");
  EXPECT_FALSE(Values(study, "fine_tune.method.lora.use_rslora").values(1).bool_value());
}

TEST(StudyFlagsTest, SeveralMethodsAreChoicesOfTheWhole) {
  const v1::Study study =
      Made({{"--method", "lora,soft_prompt"}, {"--rank", "2,4"}, {"--alpha", "8"}});
  EXPECT_FALSE(study.spec_template().fine_tune().has_method());
  ASSERT_THAT(study.space(), UnorderedElementsAre(Key("fine_tune.method")));
  const auto methods = Values(study, "fine_tune.method");
  ASSERT_THAT(methods.values(), SizeIs(3));
  const auto& lora = methods.values(1).struct_value().fields().at("lora").struct_value().fields();
  EXPECT_EQ(lora.at("rank").number_value(), 4);
  EXPECT_EQ(lora.at("alpha").number_value(), 8);
  EXPECT_TRUE(methods.values(2).struct_value().fields().contains("soft_prompt"));
}

TEST(StudyFlagsTest, WhatIsOfJobsBecomesTheStudys) {
  const v1::Study study = Made({{"--method", "lora"},
                                {"--study", "ranks"},
                                {"--priority", "3"},
                                {"--output-name", "best"},
                                {"--allow-migration", "true"}});
  EXPECT_EQ(study.display_name(), "ranks");
  EXPECT_EQ(study.priority(), 3);
  EXPECT_EQ(study.output_name(), "best");
  EXPECT_TRUE(study.allow_migration());
  EXPECT_EQ(study.spec_template().fine_tune().output_name(), "");
  EXPECT_THAT(study.space(), IsEmpty());
}

TEST(StudyFlagsTest, WrongValuesAreNamed) {
  EXPECT_THAT(StudyFrom({{"--method", "lora"}, {"--rank", "2,x"}}).status().message(),
              HasSubstr("--rank"));
  EXPECT_THAT(StudyFrom({{"--method", "soft_prompt"}, {"--rank", "2,4"}}).status().message(),
              HasSubstr("has no such part"));
  EXPECT_THAT(StudyFrom({{"--method", "lora"}, {"--priority", "1,2"}}).status().message(),
              HasSubstr("--priority: has several values; the trials of a study share it"));
}

TEST(StudyFlagsTest, RangesAreNamedByFlagsOrFields) {
  v1::Study study;
  ASSERT_TRUE(AddRange(FineTuneFlags(), "--range", "rank=1..8:4", false, study).ok());
  ASSERT_TRUE(
      AddRange(FineTuneFlags(), "--log-range", "fine_tune.method.lora.alpha=1e-1..1e2", true, study)
          .ok());
  const v1::Dimension::Range& rank = study.space().at("fine_tune.method.lora.rank").range();
  EXPECT_EQ(rank.min(), 1);
  EXPECT_EQ(rank.max(), 8);
  EXPECT_EQ(rank.steps(), 4);
  EXPECT_EQ(study.space().at("fine_tune.method.lora.alpha").log_range().max(), 100);
  for (const char* wrong : {"", "rank", "rank=", "rank=1", "rank=1..x", "=1..2", "rank=1..2:x"}) {
    const absl::Status status = AddRange(FineTuneFlags(), "--range", wrong, false, study);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_THAT(status.message(), HasSubstr("--range: \""));
  }
}

TEST(StudyFlagsTest, FieldsOfTheRequestAreCalledByTheirFlags) {
  const JobFlagValues values = Given({{"--rank", "2,4"}});
  EXPECT_EQ(
      NameOfStudyField(FineTuneFlags(), values, "study.spec_template.fine_tune.method.lora.rank"),
      "--rank");
  EXPECT_EQ(
      NameOfStudyField(FineTuneFlags(), values, "study.space[\"fine_tune.method.lora.rank\"]"),
      "--rank");
  EXPECT_EQ(NameOfStudyField(FineTuneFlags(), values, "study.objective.metric"), "--objective");
  EXPECT_EQ(NameOfStudyField(FineTuneFlags(), values, "study.limits.max_trials"),
            "limits.max_trials");
}

}  // namespace
}  // namespace graft
