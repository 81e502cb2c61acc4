#include "worker/engine/evaluation/sample_text.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace graft {
namespace {

TEST(SampleTextTest, LongTextsAreCutBetweenCharacters) {
  DataRow row;
  row.source = absl::StrCat(std::string(4095, 'a'), "é and more");
  row.targets = {std::string(4096, 'b'), "second"};
  const SampleTextEvent event = MakeSampleText(7, row, "short");
  EXPECT_EQ(event.row, 7);
  EXPECT_EQ(event.source, absl::StrCat(std::string(4095, 'a'), "…"));
  EXPECT_EQ(event.reference, row.targets[0]);
  EXPECT_EQ(event.prediction, "short");
}

}  // namespace
}  // namespace graft
