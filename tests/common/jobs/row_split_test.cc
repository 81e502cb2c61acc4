#include "common/jobs/row_split.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

TEST(RowSplitTest, OrderIsThePermutationThatTheDocumentedGeneratorMakes) {
  // By the same few lines in Python.
  EXPECT_THAT(HeldOutOrder(5, 42), ElementsAre(1, 2, 4, 0, 3));
  EXPECT_NE(HeldOutOrder(100, 1), HeldOutOrder(100, 2));
}

TEST(RowSplitTest, HoldsTheLastOfTheOrderOutAndKeepsBothInTheFilesOrder) {
  const RowSplit split = SplitRows(5, 2, 42, 0);
  EXPECT_THAT(split.train, ElementsAre(1, 2, 4));
  EXPECT_THAT(split.validation, ElementsAre(0, 3));
}

TEST(RowSplitTest, RowsThatAreHeldOutBeyondTheMostDoNotTrain) {
  const RowSplit split = SplitRows(5, 2, 42, 1);
  EXPECT_THAT(split.train, ElementsAre(1, 2, 4));
  EXPECT_THAT(split.validation, ElementsAre(0));
}

}  // namespace
}  // namespace graft
