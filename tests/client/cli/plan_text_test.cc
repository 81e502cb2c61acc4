#include "client/cli/plan_text.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/output.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/locale.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Named(const std::string& field) { return absl::StrCat("<", field, ">"); }

void SetCounts(int64_t limit, v1::TokenCounts* counts) {
  counts->set_mean(36.5);
  counts->set_median(30);
  counts->set_p95(1200);
  counts->set_max(2345);
  counts->set_limit(limit);
  counts->set_rows_cut(12);
  counts->set_tokens(100'000);
  counts->set_tokens_cut(1234);
  for (const int64_t rows : {1, 500, 1000, 0, 400}) {
    counts->add_histogram()->set_rows(rows);
    counts->mutable_histogram()->rbegin()->set_up_to(16 << counts->histogram_size());
  }
}

class PlanTextTest : public ::testing::Test {
 protected:
  PlanTextTest() {
    plan_.mutable_resolved_spec()->mutable_fine_tune()->mutable_method()->mutable_lora();
    plan_.set_total_parameters(124'439'808);
    plan_.set_trainable_parameters(294'912);
    plan_.set_total_steps(1230);
    plan_.set_epochs(10);
    plan_.set_evaluations(10);
    SetPart("news", 3929, 2000, plan_.mutable_train());
    v1::CutRow* cut = plan_.mutable_train()->add_most_cut();
    cut->set_line(17);
    cut->set_id("r17");
    cut->set_source_tokens_cut(1000);
    cut->set_target_tokens_cut(44);
    cut = plan_.mutable_train()->add_most_cut();
    cut->set_line(4);
    cut->set_target_tokens_cut(3);
    SetPart("valid", 520, 520, plan_.mutable_validation());
    plan_.set_expected_start_seconds(250);
    plan_.set_waits("the only worker that can do it is busy");
    plan_.set_not_measured("no worker is idle");
    v1::PlanWarning* warning = plan_.add_warnings();
    warning->set_field("fine_tune.training.warmup_steps");
    warning->set_text(
        "the warm-up takes 2000 steps and the run has 1230, so the learning rate never reaches "
        "its peak: shorten it");
  }
  static void SetPart(const char* name, int64_t rows, int64_t read, v1::DataPlan* part) {
    part->set_dataset(name);
    part->set_rows(rows);
    part->set_rows_read(read);
    SetCounts(512, part->mutable_source());
    SetCounts(128, part->mutable_target());
  }
  std::string Text() const { return PlanText(plan_, Named); }

  v1::JobPlan plan_;
  const Utf8Locale locale_;
};

TEST_F(PlanTextTest, TellsAllOfItOnAnOrdinaryTerminal) {
  plan_.clear_validation();
  EXPECT_EQ(Text(),
            "trains         294,912 of 124,439,808 parameters (lora)\n"
            "steps          1,230 in 10 epochs, 10 evaluations\n"
            "training       3,929 rows of news; all that follows is of the first 2,000\n"
            "  source       median 30, mean 36.5, 95 % up to 1,200, longest 2,345 tokens\n"
            "               ▁▄█ ▄  up to 32 … 512 tokens\n"
            "               limit 512: 12 rows (0.6 %) lose 1,234 tokens (1.2 %)\n"
            "  target       median 30, mean 36.5, 95 % up to 1,200, longest 2,345 tokens\n"
            "               ▁▄█ ▄  up to 32 … 512 tokens\n"
            "               limit 128: 12 rows (0.6 %) lose 1,234 tokens (1.2 %)\n"
            "  cut most     1,044 tokens of line 17 (r17), 3 of line 4\n"
            "starts         in 4m10s: the only worker that can do it is busy\n"
            "not measured   no worker is idle\n"
            "warning        <fine_tune.training.warmup_steps>: the warm-up takes 2000 steps\n"
            "               and the run has 1230, so the learning rate never reaches its\n"
            "               peak: shorten it\n");
}

TEST_F(PlanTextTest, NoLineIsLongerThanATerminal) {
  for (int i = 0; i < 4; ++i) {
    *plan_.mutable_train()->add_most_cut() = plan_.train().most_cut(0);
    plan_.mutable_train()->mutable_most_cut()->rbegin()->set_id(std::string(48, 'i'));
  }
  const std::string text = Text();
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    EXPECT_LE(DisplayWidth(std::string(line)), 80u) << line;
  }
}

TEST_F(PlanTextTest, WhatAWorkerMeasuredHasMemoryAndTime) {
  v1::JobMeasurement& measured = *plan_.mutable_measured();
  measured.set_worker("w-1");
  measured.mutable_execution()->set_device("cpu");
  measured.mutable_execution()->set_cpu_capability("AVX2");
  measured.mutable_execution()->set_precision("fp32");
  measured.mutable_execution()->set_threads(2);
  measured.set_peak_memory_bytes(1'200'000'000);
  measured.set_memory_budget_bytes(4'000'000'000);
  measured.set_batch_size(4);
  measured.set_gradient_accumulation_steps(2);
  measured.set_data_seconds(12.3);
  measured.set_step_seconds(3.214);
  measured.set_train_seconds(3953);
  measured.set_evaluate_seconds(372);
  measured.set_seconds(4337);
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("measured       by w-1 on cpu, AVX2, fp32, 2 threads\n"
                              "  memory       1.2 GB at the most, of 4.0 GB; micro-batches of 4 "
                              "rows, 2 a step\n"
                              "  time         1h12m: 12.3s until the first step, 1h05m of steps "
                              "(3.21 s each),\n"
                              "               6m12s of evaluations\n"));
  EXPECT_THAT(text, Not(HasSubstr("not measured")));
}

TEST_F(PlanTextTest, AnEvaluationTrainsNothing) {
  plan_.mutable_resolved_spec()->mutable_evaluate();
  plan_.clear_train();
  plan_.clear_expected_start_seconds();
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("trains         nothing: it evaluates a model of 124,439,808"));
  EXPECT_THAT(text, HasSubstr("\nevaluates      520 rows of valid\n"));
  EXPECT_THAT(text, Not(HasSubstr("steps ")));
  EXPECT_THAT(text, HasSubstr("starts         the only worker that can do it is busy\n"));
}

TEST_F(PlanTextTest, PlainTextOfWhichAPartWasReadHasNoSteps) {
  plan_.set_total_steps(0);
  plan_.mutable_train()->clear_target();
  plan_.mutable_train()->mutable_source()->set_limit(0);
  EXPECT_THAT(Text(), HasSubstr("steps          not known: of the text only a part was read\n"));
  EXPECT_THAT(Text(), HasSubstr("  text         median 30"));
}

TEST_F(PlanTextTest, SharesAreNeverRoundedToNothingOrAll) {
  v1::TokenCounts& counts = *plan_.mutable_train()->mutable_source();
  counts.set_rows_cut(1);
  counts.set_tokens_cut(99'999);
  EXPECT_THAT(Text(), HasSubstr("1 row (under 0.1 %) loses 99,999 tokens (over 99.9 %)"));
  counts.set_rows_cut(0);
  EXPECT_THAT(Text(), HasSubstr("limit 512: none is cut\n"));
}

TEST_F(PlanTextTest, WhoSubmitsGetsSixLines) {
  plan_.clear_warnings();
  EXPECT_EQ(PlanLines(plan_, Named),
            "graft: trains 294,912 of 124,439,808 parameters (lora); steps: 1,230 in 10 epochs, 10 "
            "evaluations\n"
            "graft: 3,929 rows of news (2,000 read), median 30 + 30 tokens; cut: 0.6 % of the "
            "sources, 0.6 % of the targets\n");
  for (int i = 1; i <= 5; ++i) plan_.add_warnings()->set_text(absl::StrCat("reason ", i));
  plan_.mutable_warnings(0)->set_field("fine_tune.data.train");
  const std::string lines = PlanLines(plan_, Named);
  EXPECT_THAT(lines, HasSubstr("graft: warning: <fine_tune.data.train>: reason 1\n"
                               "graft: warning: reason 2\n"
                               "graft: warning: reason 3\n"
                               "graft: and 2 more warnings: graft plan shows them\n"));
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 6);
}

TEST(HistogramBarsTest, AreAsciiWhereNothingElseCanBeShown) {
  v1::TokenCounts counts;
  SetCounts(0, &counts);
  const CLocale locale;
  EXPECT_EQ(HistogramBars(counts), ".=% =");
}

}  // namespace
}  // namespace graft
