#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class JobPlanningTest : public ::testing::Test {
 protected:
  JobPlanningTest() { *request_.mutable_spec() = LoraJob().job().spec(); }
  v1::FineTuneSpec& spec() { return *request_.mutable_spec()->mutable_fine_tune(); }
  absl::StatusOr<v1::JobPlan> Plan() {
    const auto context = CallContext();
    v1::JobPlan plan;
    const absl::Status status =
        FromGrpcStatus(server_.jobs().PlanJob(context.get(), request_, &plan));
    if (!status.ok()) return status;
    return plan;
  }
  v1::JobPlan Planned() {
    absl::StatusOr<v1::JobPlan> plan = Plan();
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *std::move(plan) : v1::JobPlan();
  }
  static std::string Codes(const v1::JobPlan& plan) {
    std::string codes;
    for (const v1::PlanWarning& warning : plan.warnings()) {
      absl::StrAppend(&codes, codes.empty() ? "" : " ", warning.code());
    }
    return codes;
  }

  TestServer server_;
  v1::PlanJobRequest request_;
};

TEST_F(JobPlanningTest, TellsStepsParametersAndTokensAndStoresNothing) {
  spec().mutable_training()->set_epochs(3);
  spec().mutable_training()->set_batch_size(2);
  const v1::JobPlan plan = Planned();
  EXPECT_EQ(plan.resolved_spec().fine_tune().method().lora().rank(), 2);
  EXPECT_EQ(plan.trainable_parameters(), 2 * (2 * 8 + 24 * 2));
  EXPECT_GT(plan.total_parameters(), plan.trainable_parameters());
  // 9 of 12 rows train.
  EXPECT_EQ(plan.total_steps(), 15);
  EXPECT_EQ(plan.epochs(), 3);
  EXPECT_EQ(plan.evaluations(), 3);
  EXPECT_EQ(plan.train().dataset(), "news");
  EXPECT_EQ(plan.train().rows(), 9);
  EXPECT_EQ(plan.train().rows_read(), 9);
  EXPECT_EQ(plan.validation().rows(), 3);
  EXPECT_EQ(plan.validation().rows_read(), 3);
  // A token a byte. "Article 1 tells.\nTL;DR:" and " Short 1" with the end of text.
  EXPECT_EQ(plan.train().source().median(), 23);
  EXPECT_EQ(plan.train().source().limit(), 24);
  EXPECT_EQ(plan.train().target().median(), 9);
  EXPECT_EQ(plan.train().target().limit(), 16);
  EXPECT_EQ(plan.train().target().rows_cut(), 0);
  EXPECT_EQ(plan.waits(), "no worker is connected");
  EXPECT_EQ(plan.not_measured(), "no worker is connected");
  EXPECT_EQ(Codes(plan), "VALIDATION_TOO_SMALL");
  EXPECT_EQ(server_.store().ListJobs({})->items.size(), 0u);
}

TEST_F(JobPlanningTest, TheRowsThatLoseMostAreNamed) {
  std::string rows = NewsRows(4);
  for (const int length : {30, 50, 40, 10, 20, 15, 16}) {
    absl::StrAppend(&rows, R"({"id": "long)", length, R"(", "document": "d", "summary": ")",
                    std::string(static_cast<size_t>(length), 'x'), "\"}\n");
  }
  ASSERT_TRUE(server_.Upload("long", rows).ok());
  spec().mutable_data()->set_train("long");
  spec().mutable_data()->clear_validation_source();
  const v1::JobPlan plan = Planned();
  EXPECT_EQ(plan.train().target().rows_cut(), 6);
  EXPECT_EQ(plan.train().target().max(), 52);
  ASSERT_EQ(plan.train().most_cut_size(), 5);
  EXPECT_EQ(plan.train().most_cut(0).id(), "long50");
  EXPECT_EQ(plan.train().most_cut(0).line(), 6);
  EXPECT_EQ(plan.train().most_cut(0).target_tokens_cut(), 36);
  EXPECT_EQ(plan.train().most_cut(2).id(), "long30");
  EXPECT_EQ(plan.train().most_cut(4).target_tokens_cut(), 2);
  EXPECT_FALSE(plan.has_validation());
  EXPECT_EQ(plan.evaluations(), 0);
  EXPECT_EQ(Codes(plan), "TARGETS_CUT");
}

TEST_F(JobPlanningTest, RowsOfTheValidationThatTrainAreFoundInASecondDataSetAndInASplit) {
  ASSERT_TRUE(server_.Upload("valid", NewsRow(30) + NewsRow(3) + NewsRow(31)).ok());
  spec().mutable_data()->set_validation("valid");
  v1::JobPlan plan = Planned();
  EXPECT_EQ(Codes(plan), "VALIDATION_IN_TRAINING VALIDATION_TOO_SMALL");
  EXPECT_THAT(plan.warnings(0).text(), HasSubstr("lines (validation = training) 2 = 3;"));
  EXPECT_EQ(plan.warnings(0).field(), "fine_tune.data.validation");

  std::string rows;
  for (int i = 0; i < 20; ++i) rows += NewsRow(1);
  ASSERT_TRUE(server_.Upload("same", rows).ok());
  spec().mutable_data()->set_train("same");
  spec().mutable_data()->set_validation_fraction(0.25);
  plan = Planned();
  EXPECT_THAT(plan.warnings(0).text(), StartsWith("5 of 5 rows of the validation"));
}

TEST_F(JobPlanningTest, PlainTextIsCountedInBlocks) {
  spec().mutable_data()->set_text_field("document");
  spec().mutable_data()->clear_validation_source();
  spec().mutable_data()->clear_max_source_tokens();
  spec().mutable_data()->clear_max_target_tokens();
  spec().clear_evaluation();
  spec().mutable_training()->set_batch_size(1);
  spec().mutable_training()->set_epochs(1);
  const v1::JobPlan plan = Planned();
  // 9 rows of 17 tokens and 3 of 18, the ends counted: 207 in blocks of 64.
  EXPECT_EQ(plan.train().source().tokens(), 207);
  EXPECT_EQ(plan.train().source().limit(), 0);
  EXPECT_FALSE(plan.train().has_target());
  EXPECT_EQ(plan.total_steps(), 4);
}

TEST_F(JobPlanningTest, OnlyTheRowsThatTheJobReadsCount) {
  spec().mutable_data()->set_max_train_rows(8);
  spec().mutable_data()->set_max_validation_rows(1);
  const v1::JobPlan plan = Planned();
  EXPECT_EQ(plan.train().rows(), 6);
  EXPECT_EQ(plan.train().rows_read(), 6);
  EXPECT_EQ(plan.validation().rows(), 1);
  EXPECT_EQ(plan.validation().rows_read(), 1);
}

TEST_F(JobPlanningTest, AnEvaluationHasRowsAndNoSteps) {
  v1::EvaluateSpec& evaluate = *request_.mutable_spec()->mutable_evaluate();
  evaluate.set_base_model("tiny");
  evaluate.mutable_data()->set_validation("news");
  const v1::JobPlan plan = Planned();
  EXPECT_EQ(plan.total_steps(), 0);
  EXPECT_EQ(plan.trainable_parameters(), 0);
  EXPECT_FALSE(plan.has_train());
  EXPECT_EQ(plan.validation().rows(), 12);
  EXPECT_EQ(Codes(plan), "VALIDATION_TOO_SMALL");
}

TEST_F(JobPlanningTest, DataThatCannotBeReadHasTheErrorOfCreateJob) {
  ASSERT_TRUE(server_.Upload("bad", NewsRows(3) + R"({"document": "d", "summary": null})").ok());
  spec().mutable_data()->set_train("bad");
  v1::CreateJobRequest create;
  *create.mutable_job()->mutable_spec() = request_.spec();
  const absl::Status refused = Plan().status();
  const absl::Status created = server_.Create(create).status();
  EXPECT_EQ(refused.code(), created.code());
  ASSERT_EQ(FieldViolationsOf(refused).size(), 1u);
  EXPECT_EQ(FieldViolationsOf(refused)[0].field(), "spec.fine_tune.data.train");
  EXPECT_EQ(FieldViolationsOf(refused)[0].description(),
            FieldViolationsOf(created)[0].description());
}

TEST_F(JobPlanningTest, WhatIsMissingOrWrongIsNamed) {
  spec().mutable_data()->set_train("none");
  EXPECT_TRUE(absl::IsNotFound(Plan().status()));
  spec().mutable_data()->set_train("news");
  spec().mutable_method()->mutable_lora()->set_rank(0);
  request_.set_priority(1001);
  request_.set_detectable_difference(std::numeric_limits<double>::quiet_NaN());
  const auto violations = FieldViolationsOf(Plan().status());
  ASSERT_EQ(violations.size(), 3u);
  EXPECT_EQ(violations[0].field(), "detectable_difference");
  EXPECT_EQ(violations[1].field(), "priority");
  EXPECT_EQ(violations[2].field(), "spec.fine_tune.method.lora.rank");
  request_.Clear();
  EXPECT_TRUE(absl::IsInvalidArgument(Plan().status()));
}

TEST_F(JobPlanningTest, ATemplateBeyondItsLimitIsRefusedBeforeTheEngineDoes) {
  spec().mutable_data()->set_prompt_template(absl::StrCat(std::string(40, 'p'), "{source}"));
  EXPECT_THAT(std::string(Plan().status().message()), HasSubstr("leaves no token for the source"));
}

TEST_F(JobPlanningTest, WhatAWorkerMeasuresIsInTheAnswerOrWhyItIsNot) {
  worker::v1::ConnectRequest hello;
  hello.mutable_worker()->set_id("w1");
  hello.set_slots(1);
  hello.set_measures(true);
  ServiceContext& context = server_.rpc().context();
  worker::v1::ReportMeasurementRequest answer;
  *answer.mutable_worker() = hello.worker();
  std::shared_ptr<WorkerHub::Link> link;
  // Called on the server's threads, where a command for the worker has come.
  const auto waker = std::make_shared<StreamWaker>([&] {
    worker::v1::Command command;
    const auto state = link->Next(&command);
    if (!state.ok() || *state != SourceState::kMessage || !command.has_measure()) return;
    EXPECT_EQ(command.measure().lease().base_model_name(), "tiny");
    EXPECT_EQ(command.measure().lease().resolved_spec().fine_tune().base_model(), "tiny");
    EXPECT_FALSE(command.measure().lease().train_data().sha256().empty());
    answer.set_id(command.measure().id());
    EXPECT_TRUE(context.measurements.Report(answer).ok());
  });
  link = *context.hub.Connect(hello, waker);
  answer.mutable_measured()->set_seconds(7);
  v1::JobPlan plan = Planned();
  EXPECT_EQ(plan.measured().worker(), "w1");
  EXPECT_EQ(plan.measured().seconds(), 7);
  EXPECT_EQ(plan.not_measured(), "");
  answer.mutable_error()->set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
  answer.mutable_error()->set_message("a row of 9 tokens needs 9 GB");
  plan = Planned();
  EXPECT_FALSE(plan.has_measured());
  EXPECT_EQ(plan.not_measured(), "a row of 9 tokens needs 9 GB");
  context.hub.Seen("w1", /*free_slots=*/0);
  EXPECT_EQ(Planned().not_measured(), "no worker is idle");
  request_.set_without_worker(true);
  EXPECT_EQ(Planned().not_measured(), "nothing was to be measured");
}

}  // namespace
}  // namespace graft
