#include "common/text/samples_hash.h"

#include <gtest/gtest.h>

#include "absl/strings/string_view.h"

namespace graft {
namespace {

std::string HashOf(const std::vector<std::vector<std::string>>& rows) {
  SamplesHash hash;
  for (const auto& row : rows) hash.Add(row);
  return hash.Hex();
}

TEST(SamplesHashTest, TellsReferencesAndRowsApart) {
  EXPECT_EQ(HashOf({{"a"}, {"b"}}), HashOf({{"a"}, {"b"}}));
  EXPECT_NE(HashOf({{"a"}, {"b"}}), HashOf({{"b"}, {"a"}}));
  EXPECT_NE(HashOf({{"a", "b"}}), HashOf({{"a"}, {"b"}}));
  EXPECT_NE(HashOf({{"ab"}}), HashOf({{"a", "b"}}));
  // printf 'a\0b\0\1' | sha256sum
  EXPECT_EQ(HashOf({{"a", "b"}}), Sha256Hex(absl::string_view("a\0b\0\1", 5)));
}

}  // namespace
}  // namespace graft
