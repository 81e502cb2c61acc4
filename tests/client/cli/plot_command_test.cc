#include <memory>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class FakeNumbers : public v1::JobService::Service {
 public:
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                      v1::Job* job) override {
    job->set_name(request->name());
    job->set_display_name("run " + request->name().substr(5));
    return grpc::Status::OK;
  }
  grpc::Status ReadMetrics(grpc::ServerContext*, const v1::ReadMetricsRequest* request,
                           v1::ReadMetricsResponse* response) override {
    last = *request;
    if (request->name() == "jobs/new") return grpc::Status::OK;
    std::vector<std::string> metrics(request->metrics().begin(), request->metrics().end());
    if (metrics.empty()) metrics = {"train/loss", "eval/loss"};
    for (const std::string& metric : metrics) {
      v1::MetricCurve& curve = *response->add_curves();
      curve.set_metric(metric);
      for (int step = 1; step <= 3; ++step) {
        v1::MetricPoint& point = *curve.add_points();
        point.set_step(step);
        for (const auto set :
             {&v1::MetricPoint::set_min, &v1::MetricPoint::set_max, &v1::MetricPoint::set_last}) {
          (point.*set)(4.0 / step);
        }
      }
    }
    return grpc::Status::OK;
  }

  v1::ReadMetricsRequest last;
};

class PlotCommandTest : public ::testing::Test {
 protected:
  absl::Status Run(std::vector<std::string> words) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    words.insert(words.begin(), "plot");
    const absl::Status status = server_.Run(AddPlotCommand, words);
    out_ = ::testing::internal::GetCapturedStdout();
    error_ = ::testing::internal::GetCapturedStderr();
    return status;
  }

  FakeNumbers numbers_;
  CommandServer server_{std::vector<grpc::Service*>{&numbers_}};
  TempDir directory_;
  std::string out_, error_;
};

TEST_F(PlotCommandTest, LossesShareAxesAndOtherMetricsHaveTheirOwn) {
  ASSERT_TRUE(Run({"jobs/a", "jobs/b", "jobs/a"}).ok());
  EXPECT_THAT(out_, HasSubstr("loss\n"));
  for (const char* label : {"run a  train/loss", "run a  eval/loss", "run b  train/loss"}) {
    EXPECT_THAT(out_, HasSubstr(label));
  }
  EXPECT_THAT(out_, Not(HasSubstr("\033"))) << "this is a pipe";
  ASSERT_TRUE(Run({"jobs/a", "--metric", "train/loss", "--metric", "train/learning_rate"}).ok());
  EXPECT_THAT(out_, HasSubstr("learning_rate\n"));
  EXPECT_EQ(numbers_.last.max_points(), 160);
}

TEST_F(PlotCommandTest, APictureIsWrittenWhole) {
  const std::string path = directory_.Path("losses.svg");
  ASSERT_TRUE(Run({"jobs/a", "--output", path}).ok());
  EXPECT_EQ(out_, path + "\n");
  EXPECT_EQ(numbers_.last.max_points(), 1000);
  const auto svg = ReadFile(path, 1 << 20);
  ASSERT_TRUE(svg.ok());
  EXPECT_THAT(*svg, HasSubstr(">run a  train/loss</text>"));
  const absl::Status png = Run({"jobs/a", "--output", directory_.Path("losses.png")});
  EXPECT_TRUE(absl::IsInvalidArgument(png));
  EXPECT_THAT(std::string(png.message()), HasSubstr(".svg"));
}

TEST_F(PlotCommandTest, WhatThereIsNothingOfIsSaid) {
  EXPECT_TRUE(absl::IsFailedPrecondition(Run({"jobs/new"})));
  EXPECT_EQ(error_, "graft: jobs/new has no loss to be drawn yet\n");
  EXPECT_TRUE(Run({"jobs/new", "jobs/a"}).ok());
  std::vector<std::string> many;
  for (int i = 0; i < 14; ++i) many.push_back("jobs/j" + std::to_string(i));
  const absl::Status refused = Run(many);
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("28 curves are too many"));
}

TEST_F(PlotCommandTest, JsonHasTheNumbers) {
  server_.context().json = true;
  ASSERT_TRUE(Run({"jobs/a"}).ok());
  EXPECT_THAT(out_, HasSubstr("\"job\":\"jobs/a\""));
  EXPECT_THAT(out_, HasSubstr("\"metric\":\"train/loss\""));
}

}  // namespace
}  // namespace graft
