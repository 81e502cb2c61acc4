#include "client/api_client.h"

#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/file_transfer.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "gmock/gmock.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

// A job with 6 events, whose watch breaks after every second one; and creations that are counted by
// their request ids.
class FakeJobs : public v1::JobService::Service {
 public:
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override {
    if (request->name() == "endless") {
      v1::WatchJobResponse heartbeat;
      heartbeat.mutable_heartbeat();
      writer->Write(heartbeat);
      MutexLock lock(mutex_);
      while (!context->IsCancelled())
        Clock::Real().WaitUntil(cancelled_, mutex_,
                                Clock::Real().Boottime() + absl::Milliseconds(5));
      return grpc::Status::CANCELLED;
    }
    if (request->name() != "jobs/a") return grpc::Status(grpc::StatusCode::NOT_FOUND, "no job");
    for (int64_t i = request->after_sequence() + 1; i <= 6; ++i) {
      // As a server that is going away ends a call, or one that comes too late.
      if (i > request->after_sequence() + 2) {
        return i < 4 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken")
                     : grpc::Status::CANCELLED;
      }
      v1::WatchJobResponse response;
      response.mutable_event()->set_sequence(i);
      writer->Write(response);
    }
    return grpc::Status::OK;
  }
  grpc::Status CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                         v1::Job* job) override {
    MutexLock lock(mutex_);
    request_ids.push_back(request->request_id());
    job->set_name("jobs/a");
    if (request->job().display_name() == "late") {
      while (request_ids.size() == 1 && !context->IsCancelled()) {
        Clock::Real().WaitUntil(cancelled_, mutex_,
                                Clock::Real().Boottime() + absl::Milliseconds(5));
      }
      return grpc::Status::OK;
    }
    if (request_ids.size() < 3) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "answer lost");
    return grpc::Status::OK;
  }

  std::vector<std::string> request_ids;

 private:
  Mutex mutex_;
  CondVar cancelled_;
};

class FakeModels : public v1::ModelService::Service {
 public:
  grpc::Status ImportModel(grpc::ServerContext*, grpc::ServerReader<v1::ImportModelRequest>* in,
                           v1::Model* model) override {
    v1::ImportModelRequest message;
    while (in->Read(&message)) {
      if (message.has_metadata()) model->set_name(message.metadata().name());
    }
    return grpc::Status::OK;
  }
};

class ApiClientTest : public ::testing::Test {
 protected:
  ApiClientTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&jobs_);
    builder.RegisterService(&models_);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
    client_ = ApiClient::Connect(address_, {});
  }

  FakeJobs jobs_;
  FakeModels models_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::unique_ptr<ApiClient> client_;
};

TEST_F(ApiClientTest, ABrokenWatchGoesOnWhereItWas) {
  std::vector<int64_t> seen;
  int breaks = 0;
  const absl::Status status = client_->WatchJob(
      "jobs/a", 1,
      [&](const v1::WatchJobResponse& response) {
        seen.push_back(response.event().sequence());
        return true;
      },
      [&](const absl::Status&) { ++breaks; });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ElementsAre(2, 3, 4, 5, 6));
  EXPECT_EQ(breaks, 2);
}

TEST_F(ApiClientTest, AWatchEndsWhenItsReaderHasEnough) {
  int seen = 0;
  EXPECT_TRUE(client_->WatchJob("jobs/a", 0, [&](const auto&) { return ++seen < 1; }).ok());
  EXPECT_EQ(seen, 1);
}

TEST_F(ApiClientTest, AnUnknownJobIsNotWaitedFor) {
  EXPECT_EQ(client_->WatchJob("jobs/b", 0, [](const auto&) { return true; }).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ApiClientTest, CancelStreamsEndsAWatchThatHasNothingToSay) {
  const absl::Status status = client_->WatchJob("endless", 0, [&](const auto&) {
    client_->CancelStreams();
    return true;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(ApiClientTest, ARepeatedCreationKeepsItsRequestId) {
  const auto job = client_->CreateJob({});
  ASSERT_TRUE(job.ok()) << job.status();
  ASSERT_EQ(jobs_.request_ids.size(), 3u);
  EXPECT_NE(jobs_.request_ids[0], "");
  EXPECT_EQ(jobs_.request_ids[0], jobs_.request_ids[2]);
}

TEST_F(ApiClientTest, AnUploadOfAModelTellsHowFarItIs) {
  const TempDir folder;
  const std::string weights(kTransferChunkBytes + 1, 'x');
  ASSERT_TRUE(WriteFileAtomically(folder.Path("model.safetensors"), weights).ok());
  ASSERT_TRUE(WriteFileAtomically(folder.Path("config.json"), "{}").ok());
  ASSERT_TRUE(WriteFileAtomically(folder.Path("README.md"), "not sent").ok());
  std::vector<int64_t> sent;
  std::set<int64_t> totals;
  const auto model = client_->ImportModel("m", folder.path(), [&](const UploadProgress& progress) {
    totals.insert(progress.total_bytes);
    if (progress.stage == UploadProgress::Stage::kSending) sent.push_back(progress.done_bytes);
  });
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->name(), "m");
  const auto chunk = static_cast<int64_t>(kTransferChunkBytes);
  EXPECT_THAT(sent, ElementsAre(2, 2 + chunk, 3 + chunk));
  EXPECT_THAT(totals, ElementsAre(3 + chunk));
}

TEST_F(ApiClientTest, ACreationWithoutAnAnswerIsSentAgainWithItsRequestId) {
  ApiClient::Options options;
  options.call_timeout = absl::Seconds(1);
  const auto client = ApiClient::Connect(address_, options);
  v1::CreateJobRequest request;
  request.mutable_job()->set_display_name("late");
  const auto job = client->CreateJob(request);
  ASSERT_TRUE(job.ok()) << job.status();
  ASSERT_EQ(jobs_.request_ids.size(), 2u);
  EXPECT_EQ(jobs_.request_ids[0], jobs_.request_ids[1]);
}

TEST(ApiClientAloneTest, AnAbsentServerIsUnavailable) {
  ApiClient::Options options;
  options.patience = absl::Milliseconds(100);
  const auto client = ApiClient::Connect("unix:///no/such/socket", options);
  EXPECT_EQ(client->GetJob("jobs/a").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace graft
