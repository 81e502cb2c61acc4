#include "client/cli/job_flags.h"

#include "common/jobs/method.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<std::vector<v1::Job>> Jobs(const std::map<std::string, std::string>& given,
                                          const v1::Job& base = {}) {
  JobFlagValues values;
  for (const JobFlag& flag : FineTuneFlags()) values.values[flag.name] = "";
  for (const auto& [name, value] : given) values.values[name] = value;
  return JobsFromFlags(FineTuneFlags(), values, base, "study-1");
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

TEST(JobFlagsTest, SeveralAdaptersAreOneJobAndReplaceTheFilesOwn) {
  v1::Job file;
  file.mutable_spec()->mutable_evaluate()->add_adapters("x");
  file.mutable_spec()->mutable_evaluate()->add_adapters("y");
  JobFlagValues values;
  for (const JobFlag& flag : EvaluateFlags()) values.values[flag.name] = "";
  const auto jobs = [&](const std::string& adapters) {
    values.values["--adapter"] = adapters;
    return JobsFromFlags(EvaluateFlags(), values, file, "study-1");
  };
  const auto several = jobs("a, b,c");
  ASSERT_TRUE(several.ok()) << several.status();
  ASSERT_EQ(several->size(), 1u);
  EXPECT_THAT(several->at(0).spec().evaluate().adapters(), ::testing::ElementsAre("a", "b", "c"));
  EXPECT_EQ(several->at(0).spec().evaluate().adapter(), "");
  const auto one = jobs("a");
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->at(0).spec().evaluate().adapter(), "a");
  EXPECT_TRUE(one->at(0).spec().evaluate().adapters().empty());
  EXPECT_EQ(NameOfField(EvaluateFlags(), values, "spec", "job.spec.evaluate.adapters[2]"),
            "--adapter");
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

TEST(JobFlagsTest, LoraAndDoraShareTheirSettingsButAreTwoMethods) {
  v1::Job file;
  v1::Lora& lora = *file.mutable_spec()->mutable_fine_tune()->mutable_method()->mutable_lora();
  lora.set_alpha(3);
  lora.set_use_dora(true);
  const auto jobs = Jobs({{"--method", "lora,dora"}, {"--rank", "2"}}, file);
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  ASSERT_EQ(jobs->size(), 2u);
  EXPECT_EQ(MethodName(jobs->at(0).spec().fine_tune().method()), "lora");
  EXPECT_EQ(MethodName(jobs->at(1).spec().fine_tune().method()), "dora");
  for (const v1::Job& job : *jobs) {
    EXPECT_EQ(job.spec().fine_tune().method().lora().alpha(), 3);
    EXPECT_EQ(job.spec().fine_tune().method().lora().rank(), 2);
  }
  const auto flagged = Jobs({{"--method", "lora"}, {"--use-dora", "false,true"}});
  ASSERT_TRUE(flagged.ok()) << flagged.status();
  EXPECT_EQ(MethodName(flagged->at(0).spec().fine_tune().method()), "lora");
  EXPECT_EQ(MethodName(flagged->at(1).spec().fine_tune().method()), "dora");
}

TEST(JobFlagsTest, AMethodReplacesThatOfTheFileAndKeepsTheSettingsOfItsParts) {
  v1::Job file;
  v1::Method& method = *file.mutable_spec()->mutable_fine_tune()->mutable_method();
  method.mutable_soft_prompt()->set_num_virtual_tokens(5);
  method.mutable_lora()->set_alpha(3);
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
  EXPECT_EQ(Jobs({{"--schedule", "consine"}}).status().message(),
            "--schedule: \"consine\" is not one of linear, cosine, constant; did you mean cosine?");
  EXPECT_THAT(std::string(Jobs({{"--method", "sof-prompt"}}).status().message()),
              HasSubstr("did you mean soft_prompt?"));
  EXPECT_THAT(std::string(Jobs({{"--method", "magic"}}).status().message()),
              HasSubstr("soft_prompt"));
}

TEST(JobFlagsTest, DashesAndUnderscoresAreEqualInValues) {
  const auto jobs =
      Jobs({{"--method", "soft-prompt+Last-Layers"}, {"--prompt-init", "random-unit"}});
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  const v1::Method& method = jobs->at(0).spec().fine_tune().method();
  EXPECT_EQ(MethodName(method), "soft_prompt+last_layers");
  EXPECT_EQ(method.soft_prompt().init(), v1::SoftPrompt::INIT_RANDOM_UNIT);
}

TEST(JobFlagsTest, AFlagCountsWhateverElseTheFileSays) {
  // As a resolved spec has it.
  v1::Job file;
  v1::FineTuneSpec& spec = *file.mutable_spec()->mutable_fine_tune();
  spec.mutable_method()->mutable_lora()->set_learning_rate(2e-4);
  spec.mutable_training()->set_max_steps(100);
  spec.mutable_training()->set_warmup_steps(0);
  spec.mutable_data()->set_source_field("document");
  spec.mutable_data()->set_target_field("summary");
  const auto jobs = Jobs({{"--epochs", "3"},
                          {"--learning-rate", "1e-3"},
                          {"--warmup-ratio", "0.1"},
                          {"--text-field", "text"}},
                         file);
  ASSERT_TRUE(jobs.ok()) << jobs.status();
  const v1::FineTuneSpec& now = jobs->at(0).spec().fine_tune();
  EXPECT_FALSE(now.training().has_max_steps());
  EXPECT_FALSE(now.training().has_warmup_steps());
  EXPECT_FALSE(now.method().lora().has_learning_rate());
  EXPECT_FALSE(now.data().has_source_field());
  EXPECT_EQ(now.training().learning_rate(), 1e-3);
  // Two flags that exclude each other are for the checks to refuse.
  const auto both = Jobs({{"--warmup-ratio", "0.1"}, {"--warmup-steps", "5"}}, file);
  EXPECT_TRUE(both->at(0).spec().fine_tune().training().has_warmup_ratio());
  EXPECT_TRUE(both->at(0).spec().fine_tune().training().has_warmup_steps());
}

TEST(JobFlagsTest, FieldsAreCalledAsTheCommandSaysThem) {
  JobFlagValues values;
  const auto name = [&](absl::string_view field, absl::string_view spec_path = "spec") {
    return NameOfField(FineTuneFlags(), values, spec_path, field);
  };
  EXPECT_EQ(name("job.spec.fine_tune.method.lora.rank"), "--rank");
  EXPECT_EQ(name("job.spec.fine_tune.method.lora.target_modules[1]"), "--target-modules");
  EXPECT_EQ(name("job.spec.fine_tune.method"), "--method");
  EXPECT_EQ(name("job.spec.fine_tune.method.full"), "--method");
  EXPECT_EQ(name("job.spec.fine_tune.data.validation"), "--validation");
  EXPECT_EQ(name("job.display_name"), "--name");
  EXPECT_EQ(name("job.labels"), "--label");
  EXPECT_EQ(name("request_id"), "--request-id");
  // No flag sets it.
  EXPECT_EQ(name("job.spec.fine_tune.training.beta1"), "spec.fine_tune.training.beta1");
  EXPECT_EQ(name("job.spec.fine_tune.method.lora.learning_rate"),
            "spec.fine_tune.method.lora.learning_rate");
  EXPECT_EQ(NameOfField(EvaluateFlags(), values, "spec", "job.spec.evaluate.data.validation"),
            "--data");

  // With a file, only what a flag gave is a flag's fault.
  values.file = "job.json";
  values.values["--rank"] = "0";
  EXPECT_EQ(name("job.spec.fine_tune.method.lora.rank"), "--rank");
  EXPECT_EQ(name("job.spec.fine_tune.training.epochs"), "spec.fine_tune.training.epochs");
  EXPECT_EQ(name("job.spec.fine_tune.training.epochs", ""), "fine_tune.training.epochs");
  EXPECT_EQ(name("job.spec.fine_tune.method", "resolved_spec"), "resolved_spec.fine_tune.method");
  EXPECT_EQ(name("job.labels"), "labels");
  values.labels = {"a=b"};
  EXPECT_EQ(name("job.labels"), "--label");
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
      for (const char* text : {"1", "true", "lora", "fp32", "linear", "stop", "random", "8h"}) {
        JobFlagValues values;
        for (const JobFlag& other : *flags) values.values[other.name] = "";
        values.values[flag.name] = text;
        const auto jobs = JobsFromFlags(*flags, values, {}, "s");
        EXPECT_NE(jobs.status().code(), absl::StatusCode::kInternal) << flag.name;
        accepted = accepted || jobs.ok();
      }
      EXPECT_TRUE(accepted) << flag.name;
    }
  }
}

}  // namespace
}  // namespace graft
