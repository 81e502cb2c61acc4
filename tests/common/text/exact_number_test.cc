#include "common/text/exact_number.h"

#include <cmath>

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(ExactNumberTest, HasTheFewestDigitsThatAreIt) {
  EXPECT_EQ(ExactNumber(0.1), "0.1");
  EXPECT_EQ(ExactNumber(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(ExactNumber(1e-5), "1e-05");
}

TEST(ExactNumberTest, WhatIsNotFiniteIsNothing) {
  EXPECT_EQ(ExactNumber(std::nan("")), "");
  EXPECT_EQ(ExactNumber(HUGE_VAL), "");
}

}  // namespace
}  // namespace graft
