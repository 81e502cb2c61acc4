#include "server/analysis/row_scores.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/analysis/blob_lines.h"
#include "tests/fakes/memory_blob_store.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

absl::StatusOr<RowScores> Read(
    const std::string& text, const Gone& gone = [] { return false; }) {
  MemoryBlobStore blobs;
  const auto blob = blobs.Put(text);
  EXPECT_TRUE(blob.ok());
  const auto reader = blobs.Open(blob->sha256);
  EXPECT_TRUE(reader.ok());
  return ReadRowScores(**reader, "rougeLsum", gone);
}

TEST(RowScoresTest, TheScoreOfEachRowByRow) {
  const auto scores = Read(
      "{\"index\": 2, \"rougeLsum\": {\"f\": 0.5}}\n{\"index\": 0, \"rougeLsum\": {\"f\": 0.25}}");
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_THAT(*scores, ElementsAre(Pair(0, 0.25), Pair(2, 0.5)));
  EXPECT_TRUE(Read("")->empty());
}

TEST(RowScoresTest, RowsOverSeveralPiecesOfTheBlob) {
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    absl::StrAppend(&text, "{\"index\": ", i, ", \"text\": \"", std::string(i % 700, 'x'),
                    "\", \"rougeLsum\": {\"f\": 0.5}}\n");
  }
  EXPECT_EQ(Read(text)->size(), 3000u);
  EXPECT_TRUE(absl::IsCancelled(Read(text, [] { return true; }).status()));
}

TEST(RowScoresTest, ALineThatIsNoScoredRowIsNamed) {
  const std::string good = "{\"index\": 0, \"rougeLsum\": {\"f\": 0.25}}\n";
  for (const char* line :
       {"no JSON", "[1]", R"({"index": "0", "rougeLsum": {"f": 0.25}})",
        R"({"index": 0, "rougeLsum": {"f": "0.25"}})", R"({"index": 0, "rougeLsum": 0.25})", ""}) {
    const absl::Status status = Read(absl::StrCat(good, line, "\n")).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << line;
    EXPECT_EQ(status.message(), "line 2 has no rougeLsum");
  }
  EXPECT_THAT(std::string(Read(good + good).status().message()), HasSubstr("row 0 stands there"));
  EXPECT_THAT(std::string(Read(std::string(kMaxArtifactLineBytes + 1, 'x')).status().message()),
              HasSubstr("line 1 is longer than 4 MiB"));
}

}  // namespace
}  // namespace graft
