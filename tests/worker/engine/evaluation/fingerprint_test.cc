#include "worker/engine/evaluation/fingerprint.h"

#include <gtest/gtest.h>

namespace graft {
namespace {

TEST(DecodingNameTest, NamesEverySettingOfSampling) {
  EXPECT_EQ(DecodingName({}), "greedy");
  EXPECT_EQ(DecodingName({true, 0.7, 50, 0.95, 7}),
            "sample temperature=0.7 top_k=50 top_p=0.95 seed=7");
}

TEST(DecodingNameTest, NamesEverySettingOfBeamSearchAndTheRules) {
  GenerationConfig config;
  config.num_beams = 4;
  config.length_penalty = 0.5;
  config.early_stopping = BeamEarlyStopping::kNever;
  EXPECT_EQ(DecodingName(config), "beam num_beams=4 length_penalty=0.5 early_stopping=never");
  config.early_stopping = BeamEarlyStopping::kTrue;
  config.repetition_penalty = 1.25;
  config.no_repeat_ngram_size = 3;
  EXPECT_EQ(DecodingName(config),
            "beam num_beams=4 length_penalty=0.5 early_stopping=true repetition_penalty=1.25 "
            "no_repeat_ngram_size=3");
  config.num_beams = 1;
  EXPECT_EQ(DecodingName(config), "greedy repetition_penalty=1.25 no_repeat_ngram_size=3");
}

}  // namespace
}  // namespace graft
