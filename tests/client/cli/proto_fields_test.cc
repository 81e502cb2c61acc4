#include "client/cli/proto_fields.h"

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class ProtoFieldsTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically(directory_.Path(name), content).ok());
    return directory_.Path(name);
  }

 private:
  TempDir directory_;
};

TEST_F(ProtoFieldsTest, JsonAndYamlOfAJobAreTheSame) {
  const auto json = ReadJobFile(Write("job.json", R"({"display_name": "1", "priority": 3,
      "spec": {"fine_tune": {"method": {"lora": {"rank": 4, "target_modules": ["c_fc"]}},
                             "training": {"learning_rate": 0.001}}}})"));
  const auto yaml = ReadJobFile(Write("job.yaml",
                                      "display_name: \"1\"\npriority: 3\nspec:\n  fine_tune:\n"
                                      "    method: {lora: {rank: 4, target_modules: [c_fc]}}\n"
                                      "    training: {learning_rate: 1e-3}\n"));
  ASSERT_TRUE(json.ok()) << json.status();
  ASSERT_TRUE(yaml.ok()) << yaml.status();
  EXPECT_EQ(json->SerializeAsString(), yaml->SerializeAsString());
  EXPECT_EQ(yaml->spec().fine_tune().method().lora().rank(), 4);
}

TEST_F(ProtoFieldsTest, AnUnknownFieldIsNamed) {
  const auto job = ReadJobFile(Write("job.json", R"({"spec": {"fine_tune": {"metod": {}}}})"));
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(job.status().message()), HasSubstr("metod"));
}

TEST_F(ProtoFieldsTest, BrokenYamlNamesItsLine) {
  const auto job = ReadJobFile(Write("job.yml", "priority: 1\nspec: [\n"));
  EXPECT_THAT(std::string(job.status().message()), HasSubstr("line 3"));
}

TEST_F(ProtoFieldsTest, YamlThatIsNotUtf8IsRefused) {
  const auto job = ReadJobFile(Write("job.yml", "display_name: caf\xe9\n"));
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(job.status().message()), HasSubstr("UTF-8"));
}

TEST_F(ProtoFieldsTest, AMissingFileIsNotFound) {
  EXPECT_EQ(ReadJobFile("/no/such/job.json").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace graft
