#include "client/cli/job_file.h"

#include "absl/strings/str_replace.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class JobFileTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically(directory_.Path(name), content).ok());
    return directory_.Path(name);
  }

  std::string Message(const std::string& name, const std::string& content) {
    const auto file = ReadJobFile(Write(name, content));
    EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(file.status().message());
  }

 private:
  TempDir directory_;
};

TEST_F(JobFileTest, JsonAndYamlOfAJobAreTheSame) {
  const auto json = ReadJobFile(Write("job.json", R"({"display_name": "1", "priority": 3,
      "spec": {"fine_tune": {"method": {"lora": {"rank": 4, "target_modules": ["c_fc"]}},
                             "training": {"learning_rate": 0.001}}}})"));
  const auto yaml = ReadJobFile(Write("job.yaml",
                                      "display_name: \"1\"\npriority: 3\nspec:\n  fine_tune:\n"
                                      "    method: {lora: {rank: 4, target_modules: [c_fc]}}\n"
                                      "    training: {learning_rate: 1e-3}\n"));
  ASSERT_TRUE(json.ok()) << json.status();
  ASSERT_TRUE(yaml.ok()) << yaml.status();
  EXPECT_EQ(json->job.SerializeAsString(), yaml->job.SerializeAsString());
  EXPECT_EQ(yaml->job.spec().fine_tune().method().lora().rank(), 4);
  EXPECT_EQ(yaml->spec_path, "spec");
}

TEST_F(JobFileTest, ASpecAloneIsAJob) {
  // As graft-engine run takes it and --validate-only prints it, hashes of the resolution and all.
  const auto file = ReadJobFile(Write("job.json", R"({"fine_tune": {"base_model": "models/gpt2",
      "data": {"train": "a.jsonl", "train_sha256": "12", "validation_sha256": "34"},
      "base_model_sha256": "56", "init_from_sha256": "78", "method": {"lora": {}}}})"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->spec_path, "");
  const v1::FineTuneSpec& spec = file->job.spec().fine_tune();
  EXPECT_EQ(spec.base_model(), "models/gpt2");
  EXPECT_EQ(spec.data().train(), "a.jsonl");
  EXPECT_EQ(spec.base_model_sha256() + spec.init_from_sha256() + spec.data().train_sha256() +
                spec.data().validation_sha256(),
            "");
  const auto evaluate = ReadJobFile(Write("job.yaml", "evaluate: {adapter: a, adapter_sha256: x}"));
  ASSERT_TRUE(evaluate.ok()) << evaluate.status();
  EXPECT_EQ(evaluate->job.spec().evaluate().adapter(), "a");
  EXPECT_EQ(evaluate->job.spec().evaluate().adapter_sha256(), "");
}

TEST_F(JobFileTest, OfWhatAServerPrintsTheClientsFieldsCount) {
  const std::string shown = R"({"name": "jobs/k3f9", "display_name": "mine", "state": "NEW_STATE",
      "labels": {"team": "news"}, "attempts": [{"error": {"details": [{"@type": "x"}]}}],
      "createTime": "2026-01-01T00:00:00Z", "result": {"adapter": "a"},
      "resolved_spec": {"fine_tune": {"output_name": "k3f9", "training": {"seed": "7"}}})";
  const auto resolved = ReadJobFile(Write("resolved.json", shown + "}"));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->spec_path, "resolved_spec");
  EXPECT_EQ(resolved->job.name(), "");
  EXPECT_EQ(resolved->job.attempts_size(), 0);
  EXPECT_EQ(resolved->job.display_name(), "mine");
  EXPECT_EQ(resolved->job.labels().at("team"), "news");
  EXPECT_FALSE(resolved->job.has_resolved_spec());
  EXPECT_EQ(resolved->job.spec().fine_tune().training().seed(), 7);
  // The name of its first job's adapter, which nobody chose.
  EXPECT_EQ(resolved->job.spec().fine_tune().output_name(), "");

  const auto both = ReadJobFile(
      Write("both.json", shown + R"(, "spec": {"fine_tune": {"output_name": "chosen"}}})"));
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->spec_path, "spec");
  EXPECT_EQ(both->job.spec().fine_tune().output_name(), "chosen");
  EXPECT_FALSE(both->job.spec().fine_tune().has_training());
}

TEST_F(JobFileTest, EnumValuesMayBeWrittenAsFlagsTakeThem) {
  const std::string spec = R"({"fine_tune": {
      "training": {"precision": "%s", "schedule": "cosine", "onDivergence": "SKIP"},
      "method": {"soft_prompt": {"init": "random-unit"}},
      "evaluation": {"generation": {"early_stopping": "never"}}}})";
  for (const char* precision : {"fp32", "FP32", "PRECISION_FP32"}) {
    const auto file =
        ReadJobFile(Write("job.json", absl::StrReplaceAll(spec, {{"%s", precision}})));
    ASSERT_TRUE(file.ok()) << file.status();
    const v1::FineTuneSpec& fine_tune = file->job.spec().fine_tune();
    EXPECT_EQ(fine_tune.training().precision(), v1::PRECISION_FP32);
    EXPECT_EQ(fine_tune.training().schedule(), v1::SCHEDULE_COSINE);
    EXPECT_EQ(fine_tune.training().on_divergence(), v1::DIVERGENCE_POLICY_SKIP);
    EXPECT_EQ(fine_tune.method().soft_prompt().init(), v1::SoftPrompt::INIT_RANDOM_UNIT);
    EXPECT_EQ(fine_tune.evaluation().generation().early_stopping(), v1::BEAM_EARLY_STOPPING_NEVER);
  }
  EXPECT_THAT(
      Message("job.json", absl::StrReplaceAll(spec, {{"%s", "fp23"}})),
      HasSubstr("job.json: fine_tune.training.precision: \"fp23\" is not one of auto, fp32, "
                "bf16, fp64; did you mean fp32?"));
  // YAML's own word for it.
  const auto yaml = ReadJobFile(
      Write("job.yaml", "fine_tune: {evaluation: {generation: {early_stopping: true}}}"));
  ASSERT_TRUE(yaml.ok()) << yaml.status();
  EXPECT_EQ(yaml->job.spec().fine_tune().evaluation().generation().early_stopping(),
            v1::BEAM_EARLY_STOPPING_TRUE);
}

TEST_F(JobFileTest, WhatIsNoJobIsRefusedByItsPlace) {
  EXPECT_THAT(
      Message("a.json", R"({"spec": {"fine_tune": {"metod": {}}}})"),
      HasSubstr("a.json: spec.fine_tune.metod: there is no such field; did you mean method?"));
  EXPECT_THAT(Message("a.json", R"({"prioritty": 3})"), HasSubstr("did you mean priority?"));
  EXPECT_THAT(Message("a.json", R"({"fine_tune": {}, "spec": {}})"),
              HasSubstr("spec: there is no"));
  EXPECT_THAT(Message("a.json", R"({"fine_tune": {"data": {"train": 3}}})"), HasSubstr("a.json: "));
  EXPECT_THAT(Message("a.json", "[1]"), HasSubstr("must be a job"));
  EXPECT_THAT(Message("a.json", "{\"fine_tune\": {}}\n{\"fine_tune\": {}}"), HasSubstr("line 2"));
  EXPECT_THAT(Message("a.json", "{\n\"spec\": }"), HasSubstr("line 2"));
}

TEST_F(JobFileTest, BrokenYamlNamesItsLine) {
  const auto job = ReadJobFile(Write("job.yml", "priority: 1\nspec: [\n"));
  EXPECT_THAT(std::string(job.status().message()), HasSubstr("line 3"));
}

TEST_F(JobFileTest, YamlThatIsNotUtf8IsRefused) {
  const auto job = ReadJobFile(Write("job.yml", "display_name: caf\xe9\n"));
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(job.status().message()), HasSubstr("UTF-8"));
}

TEST_F(JobFileTest, AMissingFileIsNotFound) {
  EXPECT_EQ(ReadJobFile("/no/such/job.json").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace graft
