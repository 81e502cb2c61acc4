#include "common/text/porter_stemmer.h"

#include "tests/common/text/test_files.h"

namespace graft {
namespace {

TEST(PorterStemmerTest, StemsLikeNltk) {
  const nlohmann::json rows = ReadJson(GoldenPath("rouge/stems.json"));
  ASSERT_GT(rows.size(), 1500u);
  for (const nlohmann::json& row : rows) {
    EXPECT_EQ(PorterStem(absl::string_view(row[0].get<std::string>())), row[1].get<std::string>())
        << row[0];
  }
}

TEST(PorterStemmerTest, AnyBytesAreStemmedToNoMore) {
  uint64_t state = 3;
  for (int i = 0; i < 20000; ++i) {
    std::string word;
    for (int k = 0; k < i % 9; ++k) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      word +=
          (state >> 60 < 10) ? "yalieds\xFFng"[(state >> 33) % 10] : static_cast<char>(state >> 40);
    }
    EXPECT_LE(PorterStem(absl::string_view(word)).size(), word.size());
  }
}

}  // namespace
}  // namespace graft
