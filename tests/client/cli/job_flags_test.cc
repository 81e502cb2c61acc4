#include "client/cli/job_flags.h"

#include "common/base/file.h"
#include "common/jobs/method.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::vector<v1::Job>> Jobs(const std::map<std::string, std::string>& given,
                                          const std::string& file = "") {
  JobFlagValues values;
  values.file = file;
  for (const JobFlag& flag : FineTuneFlags()) values.values[flag.name] = "";
  for (const auto& [name, value] : given) values.values[name] = value;
  return JobsFromFlags(FineTuneFlags(), values, "study-1");
}

TEST(JobFlagsTest, FlagsSetTheirFields) {
  const auto jobs = Jobs({{"--method", "lora"},
                          {"--rank", "4"},
                          {"--target-modules", "c_attn,mlp.c_proj"},
                          {"--learning-rate", "1e-3"},
                          {"--schedule", "cosine"},
                          {"--num-beams", "4"},
                          {"--early-stopping", "never"},
                          {"--no-repeat-ngram-size", "3"},
                          {"--name", "a, b"}});
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  ASSERT_EQ(jobs->size(), 1u);
  const v1::FineTuneSpec& spec = jobs->at(0).spec().fine_tune();
  EXPECT_EQ(spec.method().lora().rank(), 4);
  EXPECT_EQ(spec.method().lora().target_modules_size(), 2);
  EXPECT_EQ(spec.training().learning_rate(), 1e-3);
  EXPECT_EQ(spec.training().schedule(), v1::SCHEDULE_COSINE);
  const v1::GenerationOptions& generation = spec.evaluation().generation();
  EXPECT_EQ(generation.num_beams(), 4);
  EXPECT_EQ(generation.early_stopping(), v1::BEAM_EARLY_STOPPING_NEVER);
  EXPECT_EQ(generation.no_repeat_ngram_size(), 3);
  EXPECT_EQ(jobs->at(0).display_name(), "a, b");
  EXPECT_EQ(jobs->at(0).study(), "");
}

TEST(JobFlagsTest, ListsMakeEveryCombinationAsALabelledStudy) {
  const auto jobs = Jobs({{"--method", "lora"}, {"--rank", "2,4"}, {"--seed", "1,2,3"}});
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  ASSERT_EQ(jobs->size(), 6u);
  EXPECT_EQ(jobs->at(5).labels().at("rank"), "4");
  EXPECT_EQ(jobs->at(5).labels().at("seed"), "3");
  EXPECT_EQ(jobs->at(5).display_name(), "rank=4 seed=3");
  EXPECT_EQ(jobs->at(5).study(), "study-1");
}

TEST(JobFlagsTest, AHybridIsOneJobAndAListOfMethodsIsSeveral) {
  const auto hybrid = Jobs({{"--method", "lora+soft_prompt"}});
  ASSERT_TRUE(hybrid.ok());
  EXPECT_TRUE(hybrid->at(0).spec().fine_tune().method().has_lora());
  EXPECT_TRUE(hybrid->at(0).spec().fine_tune().method().has_soft_prompt());
  const auto several = Jobs({{"--method", "lora,soft_prompt"}, {"--rank", "2,4"}});
  ASSERT_TRUE(several.ok()) << several.status();
  ASSERT_EQ(several->size(), 3u);  // The rank does not multiply the soft prompt.
  EXPECT_FALSE(several->at(2).spec().fine_tune().method().has_lora());
}

TEST(JobFlagsTest, AMethodReplacesThatOfTheFileAndKeepsTheSettingsOfItsParts) {
  const TempDir directory;
  const std::string file = directory.Path("job.yaml");
  ASSERT_TRUE(WriteFileAtomically(file,
                                  "spec: {fine_tune: {method: {soft_prompt: "
                                  "{num_virtual_tokens: 5}, lora: {alpha: 3}}}}\n")
                  .ok());
  const auto jobs = Jobs({{"--method", "lora,last_layers,soft_prompt+lora"}}, file);
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  std::vector<std::string> methods;
  for (const v1::Job& job : *jobs) methods.push_back(MethodName(job.spec().fine_tune().method()));
  EXPECT_EQ(methods, (std::vector<std::string>{"lora", "last_layers", "lora+soft_prompt"}));
  EXPECT_EQ(jobs->at(0).spec().fine_tune().method().lora().alpha(), 3);
  EXPECT_EQ(jobs->at(2).spec().fine_tune().method().soft_prompt().num_virtual_tokens(), 5);
  const auto other = Jobs({{"--method", "lora"}, {"--num-virtual-tokens", "7"}}, file);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("--num-virtual-tokens"));
}

TEST(JobFlagsTest, AFlagOfAnotherMethodIsRefused) {
  const auto jobs = Jobs({{"--method", "soft_prompt"}, {"--rank", "4"}});
  EXPECT_EQ(jobs.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(jobs.status().message()), HasSubstr("--rank"));
}

TEST(JobFlagsTest, WrongValuesNameTheFlagAndWhatIsRight) {
  EXPECT_EQ(Jobs({{"--rank", "eight"}}).status().message(),
            "--rank: \"eight\" is not a whole number");
  EXPECT_EQ(Jobs({{"--schedule", "steep"}}).status().message(),
            "--schedule: \"steep\" is not one of linear, cosine, constant");
  EXPECT_THAT(std::string(Jobs({{"--method", "magic"}}).status().message()),
              HasSubstr("soft_prompt"));
}

TEST(JobFlagsTest, JobsOfAStudyCannotShareAnOutputName) {
  const std::string refused(
      Jobs({{"--method", "lora"}, {"--rank", "2,4"}, {"--output-name", "mine"}})
          .status()
          .message());
  EXPECT_THAT(refused, HasSubstr("--output-name: 2 jobs cannot share the name \"mine\""));
  EXPECT_TRUE(Jobs({{"--method", "lora"}, {"--output-name", "mine"}}).ok());
  EXPECT_TRUE(Jobs({{"--method", "lora"}, {"--output-name", "mine,yours"}}).ok());
}

TEST(JobFlagsTest, TooManyCombinationsAreRefused) {
  const std::string many = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17";
  EXPECT_EQ(Jobs({{"--method", "lora"}, {"--rank", many}, {"--seed", many}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// Every flag names a field that exists and takes some text.
TEST(JobFlagsTest, EveryFlagHasItsField) {
  for (const auto* flags : {&FineTuneFlags(), &EvaluateFlags()}) {
    for (const JobFlag& flag : *flags) {
      if (flag.path == nullptr) continue;
      bool accepted = false;
      for (const char* text : {"1", "true", "lora", "fp32", "linear", "stop", "random"}) {
        JobFlagValues values;
        for (const JobFlag& other : *flags) values.values[other.name] = "";
        values.values[flag.name] = text;
        const auto jobs = JobsFromFlags(*flags, values, "s");
        EXPECT_NE(jobs.status().code(), absl::StatusCode::kInternal) << flag.name;
        accepted = accepted || jobs.ok();
      }
      EXPECT_TRUE(accepted) << flag.name;
    }
  }
}

}  // namespace
}  // namespace graft
