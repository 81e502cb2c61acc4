#include "common/studies/study_table.h"

#include "common/studies/study_ranking.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

v1::Study Parse(const std::string& text) {
  v1::Study study;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &study)) << text;
  for (const v1::RankedPoint& point : Rank(study)) *study.add_ranking() = point;
  return study;
}

TEST(StudyTableTest, HasTheTrialsOfTheBestPointFirst) {
  const v1::Study study = Parse(R"(
    objective { metric: "eval/loss" goal: GOAL_MINIMIZE }
    trials { number: 1 point: 1 seed: 42 state: TRIAL_STATE_STOPPED steps: 10
             parameters { key: "fine_tune.method.lora.rank" value: "2" }
             values { step: 10 value: 2.5 } }
    trials { number: 2 point: 2 seed: 42 state: TRIAL_STATE_SUCCEEDED steps: 40 value: 1.25
             parameters { key: "fine_tune.method.lora.rank" value: "4" } }
    trials { number: 3 point: 3 seed: 42 state: TRIAL_STATE_FAILED
             parameters { key: "fine_tune.method.lora.rank" value: "8" } })");
  EXPECT_EQ(StudyTable(study),
            "place,trial,point,rank,seed,state,steps,eval/loss,mean,low,high,indistinguishable\r\n"
            "1,2,2,4,42,SUCCEEDED,40,1.25,1.25,,,\r\n"
            "2,1,1,2,42,STOPPED,10,2.5,2.5,,,\r\n"
            ",3,3,8,42,FAILED,0,,,,,\r\n");
}

TEST(StudyTableTest, RepeatsHaveAnInterval) {
  const v1::Study study = Parse(R"(
    objective { metric: "eval/loss" goal: GOAL_MINIMIZE }
    trials { number: 1 point: 1 seed: 42 state: TRIAL_STATE_SUCCEEDED steps: 40 value: 1.0 }
    trials { number: 2 point: 1 seed: 43 state: TRIAL_STATE_SUCCEEDED steps: 40 value: 2.0 })");
  const std::string table = StudyTable(study);
  const v1::RankedPoint& point = study.ranking(0);
  EXPECT_LT(point.low(), 1.5);
  EXPECT_NE(table.find("1,1,1,42,SUCCEEDED,40,1.0,1.5,-"), std::string::npos) << table;
  EXPECT_NE(table.find("1,2,1,43,SUCCEEDED,40,2.0,1.5,-"), std::string::npos) << table;
}

}  // namespace
}  // namespace graft
