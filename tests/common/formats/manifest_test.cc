#include "common/formats/manifest.h"

#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

const std::string kHash = Sha256Hex("x");

std::string ErrorOf(const std::vector<ManifestFile>& files) {
  return std::string(CheckManifest(files).message());
}

TEST(ManifestTest, HashIsThatOfTheSortedLines) {
  EXPECT_EQ(ManifestSha256({{"b", 2, "22"}, {"a", 1, "11"}}), Sha256Hex("11 1 a\n22 2 b\n"));
  EXPECT_EQ(ManifestSha256({{"a", 1, "11"}, {"b", 2, "22"}}),
            ManifestSha256({{"b", 2, "22"}, {"a", 1, "11"}}));
}

TEST(ManifestTest, PathsAreSafeAndUnique) {
  EXPECT_EQ(ErrorOf({{"lora/adapter_config.json", 1, kHash}, {"graft.json", 1, kHash}}), "");
  for (const char* path : {"", "/a", "a/", "../a", "a/../b", "a//b", ".a", "a/.b", "a\\b", "a b"}) {
    EXPECT_THAT(ErrorOf({{path, 1, kHash}}), HasSubstr("each part must be")) << path;
  }
  EXPECT_THAT(ErrorOf({{"a/a/a/a/a/a/a/a/a", 1, kHash}}), HasSubstr("directories deep"));
  EXPECT_THAT(ErrorOf({{"a", 1, kHash}, {"a", 1, kHash}}), HasSubstr("twice"));
  EXPECT_THAT(ErrorOf({{"a", 1, kHash}, {"a/b", 1, kHash}}), HasSubstr("a file and a directory"));
  EXPECT_THAT(ErrorOf({{"a", -1, kHash}}), HasSubstr("negative"));
  EXPECT_THAT(ErrorOf({{"a", 1, "../etc/passwd"}}), HasSubstr("hexadecimal"));
  EXPECT_THAT(ErrorOf(std::vector<ManifestFile>(kMaxManifestFiles + 1)), HasSubstr("at most"));
}

}  // namespace
}  // namespace graft
