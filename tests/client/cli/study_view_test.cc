#include "client/cli/study_view.h"

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::Study Parsed(const std::string& text) {
  v1::Study study;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &study));
  return study;
}

v1::Study Ranks() {
  return Parsed(
      "state: STUDY_STATE_RUNNING objective { metric: 'eval/loss' } rung_steps: 10 planned_steps: "
      "50 "
      "exhaustive_steps: 1234 repeats: 1 "
      "trials { number: 1 point: 1 state: TRIAL_STATE_STOPPED steps: 10 job: 'jobs/a' values { "
      "step: "
      "10 value: 2.5 } parameters { key: 'fine_tune.method.lora.rank' value: '2' } } "
      "trials { number: 2 point: 2 state: TRIAL_STATE_RUNNING steps: 40 job: 'jobs/b' values { "
      "step: "
      "10 value: 1.5 } parameters { key: 'fine_tune.method.lora.rank' value: '16' } } "
      "trials { number: 3 point: 3 state: TRIAL_STATE_PENDING parameters { key: "
      "'fine_tune.method.lora.rank' value: '8' } } "
      "ranking { point: 2 mean: 1.5 step: 10 values: 1 } ranking { point: 1 mean: 2.5 step: 10 "
      "values: "
      "1 }");
}

TEST(StudyViewTest, ALineTellsHowItStands) {
  EXPECT_EQ(StudyLine(Ranks()),
            "running, 1 pending, 1 running, 1 stopped, 50 of 1,234 steps, best eval/loss 1.5000 "
            "(point 2)");
}

TEST(StudyViewTest, TrialsAreInTheOrderOfTheirRank) {
  EXPECT_EQ(TrialTable(Ranks(), {80, 1000, false}),
            "TRIAL  RANK  STATE    STEPS    LOSS  JOB\n"
            "    2  16    running     40  1.5000  jobs/b\n"
            "    1  2     stopped     10  2.5000  jobs/a\n"
            "    3  8     pending      -       -  -\n");
  const std::string first = TrialTable(Ranks(), {80, 1, false});
  EXPECT_THAT(first, AllOf(HasSubstr("jobs/b"), Not(HasSubstr("jobs/a"))));
}

TEST(StudyViewTest, RepeatsHaveIntervals) {
  v1::Study study = Ranks();
  study.set_repeats(3);
  v1::RankedPoint& second = *study.mutable_ranking(1);
  second.set_values(3);
  second.set_low(2.4);
  second.set_high(2.6);
  second.set_difference_low(-1.1);
  second.set_difference_high(0.1);
  second.set_indistinguishable(true);
  EXPECT_THAT(RankingTable(study, {200, 1000, true}),
              AllOf(HasSubstr("2.4000..2.6000"), HasSubstr("-1.1000..0.1000"),
                    HasSubstr("not told apart")));
  EXPECT_EQ(RankingTable(Parsed(""), {80, 1000, true}), "");
}

TEST(StudyViewTest, ManyParametersShareAColumn) {
  v1::Study study = Ranks();
  for (const char* name : {"a", "b", "c", "d"}) {
    for (v1::Trial& trial : *study.mutable_trials()) (*trial.mutable_parameters())[name] = "\"x\"";
  }
  EXPECT_THAT(TrialTable(study, {200, 1000, false}), HasSubstr("PARAMETERS"));
}

TEST(StudyViewTest, EventsAreSentences) {
  v1::StudyEvent event;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "decision { step: 10 promoted: 2 stopped: 1 stopped: 3 until_step: 20 reason: 'why' }",
      &event));
  EXPECT_THAT(StudyEventLine(event),
              HasSubstr("step 10: point 2 goes on to step 20, points 1, 3 are stopped (why)\n"));
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "trial_ended { trial: 4 state: TRIAL_STATE_SUCCEEDED value: 0.25 }", &event));
  EXPECT_THAT(StudyEventLine(event), HasSubstr("trial 4 succeeded: 0.2500\n"));
}

TEST(StudyViewTest, APlanHasNoStates) {
  EXPECT_EQ(PlanTable(Ranks(), {80, 1000, true}), "TRIAL  RANK\n    1  2\n    2  16\n    3  8\n");
}

}  // namespace
}  // namespace graft
