#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class JobQuestionsTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::GetQueueResponse> Queue(const std::string& name) {
    v1::GetQueueRequest request;
    request.set_name(name);
    v1::GetQueueResponse response;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(server_.jobs().GetQueue(context.get(), request, &response));
    if (!status.ok()) return status;
    return response;
  }

  TestServer server_;
};

TEST_F(JobQuestionsTest, TheQueueTellsWhyAJobWaits) {
  FakeWorker worker(server_, "w1");
  worker.Connect();
  const std::string running = server_.Create(LoraJob())->name();
  const std::string waiting = server_.Create(LoraJob("next"))->name();
  ASSERT_TRUE(worker.Lease("r1").ok());
  const auto response = Queue(waiting);
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->jobs_size(), 1);
  EXPECT_EQ(response->jobs(0).display_name(), "next");
  EXPECT_EQ(response->jobs(0).reason(), v1::WAIT_REASON_BUSY);
  EXPECT_THAT(response->jobs(0).runs_before(), ElementsAre(running));
  ASSERT_EQ(response->jobs(0).workers_size(), 1);
  EXPECT_EQ(response->jobs(0).workers(0).worker(), "w1");
  EXPECT_TRUE(absl::IsFailedPrecondition(Queue(running).status()));
  EXPECT_TRUE(absl::IsNotFound(Queue("jobs/none").status()));

  v1::GetQueueRequest all;
  all.set_page_size(-1);
  v1::GetQueueResponse none;
  const auto context = CallContext();
  const absl::Status refused = FromGrpcStatus(server_.jobs().GetQueue(context.get(), all, &none));
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("page_size"));
}

TEST_F(JobQuestionsTest, AWatcherOfAQueuedJobHearsWhyItWaits) {
  const std::string name = server_.Create(LoraJob())->name();
  const auto context = CallContext();
  v1::WatchJobRequest request;
  request.set_name(name);
  const auto reader = server_.jobs().WatchJob(context.get(), request);
  v1::WatchJobResponse response;
  while (reader->Read(&response) && !response.has_heartbeat()) {
  }
  EXPECT_EQ(response.heartbeat().queue_position(), 1);
  EXPECT_EQ(response.heartbeat().waits(), "no worker is connected");
  EXPECT_FALSE(response.heartbeat().has_expected_start_seconds());
  context->TryCancel();
  reader->Finish();
}

TEST_F(JobQuestionsTest, CurvesAreReadWhileTheJobRuns) {
  FakeWorker worker(server_, "w1");
  const std::string name = server_.Create(LoraJob())->name();
  const auto lease = worker.Lease("r1");
  ASSERT_TRUE(lease.ok());
  ASSERT_TRUE(worker.Report(*lease, 1, {StepEvent(1, 4), StepEvent(2, 3)}).ok());
  const auto read = [&](const std::string& metric, v1::ReadMetricsResponse* response) {
    v1::ReadMetricsRequest request;
    request.set_name(name);
    if (!metric.empty()) request.add_metrics(metric);
    const auto context = CallContext();
    return FromGrpcStatus(server_.jobs().ReadMetrics(context.get(), request, response));
  };
  v1::ReadMetricsResponse response;
  ASSERT_TRUE(read("", &response).ok());
  ASSERT_EQ(response.curves_size(), 1);
  EXPECT_EQ(response.curves(0).metric(), "train/loss");
  ASSERT_EQ(response.curves(0).points_size(), 2);
  EXPECT_EQ(response.curves(0).points(1).last(), 3);
  EXPECT_THAT(response.metrics(), ElementsAre("train/loss", "train/tokens_per_second"));
  EXPECT_TRUE(absl::IsNotFound(read("eval/loss", &response)));
}

TEST_F(JobQuestionsTest, RowsAreThereWhenTheJobHasSucceeded) {
  const std::string name = server_.Create(LoraJob())->name();
  const auto read = [&](const v1::ReadRowsRequest& request) {
    const auto context = CallContext();
    v1::ReadRowsResponse response;
    return FromGrpcStatus(server_.jobs().ReadRows(context.get(), request, &response));
  };
  v1::ReadRowsRequest request;
  request.set_name(name);
  const absl::Status queued = read(request);
  EXPECT_TRUE(absl::IsFailedPrecondition(queued));
  EXPECT_EQ(ReasonOf(queued), kReasonWrongState);
  EXPECT_EQ(queued.message(),
            name + " is QUEUED: the losses of its rows are there when it has succeeded");
  request.set_page_size(-1);
  EXPECT_EQ(FieldViolationsOf(read(request))[0].field(), "page_size");
  request.set_page_size(0);
  request.set_name("jobs/none");
  EXPECT_TRUE(absl::IsNotFound(read(request)));
}

TEST_F(JobQuestionsTest, JobsThatHaveNotSucceededAreLeftOutOfAComparison) {
  const auto compare = [&](const std::vector<std::string>& names,
                           v1::CompareJobsResponse* response) {
    v1::CompareJobsRequest request;
    request.mutable_names()->Assign(names.begin(), names.end());
    const auto context = CallContext();
    return FromGrpcStatus(server_.jobs().CompareJobs(context.get(), request, response));
  };
  const std::string name = server_.Create(LoraJob())->name();
  v1::CompareJobsResponse response;
  ASSERT_TRUE(compare({name}, &response).ok());
  EXPECT_EQ(response.jobs_size(), 0);
  ASSERT_EQ(response.left_out_size(), 1);
  EXPECT_EQ(response.left_out(0).why(), "it is QUEUED");
  const absl::Status nothing = compare({}, &response);
  EXPECT_TRUE(absl::IsInvalidArgument(nothing));
  EXPECT_EQ(FieldViolationsOf(nothing)[0].field(), "names");
  EXPECT_TRUE(absl::IsNotFound(compare({"jobs/none"}, &response)));
}

}  // namespace
}  // namespace graft
