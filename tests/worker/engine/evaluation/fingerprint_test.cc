#include "worker/engine/evaluation/fingerprint.h"

#include <gtest/gtest.h>

namespace graft {
namespace {

TEST(DecodingNameTest, NamesEverySettingOfSampling) {
  EXPECT_EQ(DecodingName({}), "greedy");
  EXPECT_EQ(DecodingName({true, 0.7, 50, 0.95, 7}),
            "sample temperature=0.7 top_k=50 top_p=0.95 seed=7");
}

}  // namespace
}  // namespace graft
