// A worker of an earlier build is served by this one: each call that it made is made again.

#include <filesystem>
#include <memory>
#include <string>

#include "google/protobuf/unknown_field_set.h"
#include "gtest/gtest.h"
#include "tests/archive/recorded_calls.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using worker::v1::WorkerService;

class ArchivedWorkerTest : public ::testing::TestWithParam<std::string> {
 protected:
  ArchivedWorkerTest() {
    std::filesystem::copy(GetParam(), directory_.Path("data"),
                          std::filesystem::copy_options::recursive);
    TestServerOptions options;
    options.store = absl::StrCat("sqlite:", directory_.Path("data/graft.db"));
    options.artifacts = directory_.Path("data");
    server_ = std::make_unique<TestServer>(options);
    stub_ = WorkerService::NewStub(server_->worker_channel());
  }
  ~ArchivedWorkerTest() override {
    connection_->TryCancel();
    commands_->Finish();
  }

  // Makes the call again and returns its answer, which must have come.
  template <typename Request, typename Response>
  Response Call(grpc::Status (WorkerService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                            Response*),
                const RecordedCall& call) {
    Response response;
    const grpc::Status status = (stub_.get()->*method)(
        CallContext().get(), Parsed<Request>(call.requests.at(0)), &response);
    EXPECT_TRUE(status.ok()) << call.method << ": " << status.error_message();
    return response;
  }

  void Connect(const RecordedCall& call) {
    connection_ = CallContext();
    commands_ =
        stub_->Connect(connection_.get(), Parsed<worker::v1::ConnectRequest>(call.requests.at(0)));
    worker::v1::Command welcome;
    ASSERT_TRUE(commands_->Read(&welcome));
    EXPECT_TRUE(welcome.has_welcome());
  }

  void Upload(const RecordedCall& call) {
    google::protobuf::Empty empty;
    const auto context = CallContext();
    const auto stream = stub_->UploadBlob(context.get(), &empty);
    for (const std::string& request : call.requests) {
      stream->Write(Parsed<worker::v1::UploadBlobRequest>(request));
    }
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
  }

  void Lease(const RecordedCall& call) {
    const auto again = Call(&WorkerService::Stub::LeaseJob, call).lease();
    const auto then = Parsed<worker::v1::LeaseJobResponse>(call.answers.at(0)).lease();
    EXPECT_EQ(again.job(), then.job());
    EXPECT_EQ(again.lease_epoch(), then.lease_epoch());
    EXPECT_EQ(again.resolved_spec().SerializeAsString(), then.resolved_spec().SerializeAsString());
    EXPECT_EQ(again.base_model().SerializeAsString(), then.base_model().SerializeAsString());
    EXPECT_EQ(again.train_data().SerializeAsString(), then.train_data().SerializeAsString());
  }

  void Repeat(const RecordedCall& call) {
    if (call.method == "Connect") return Connect(call);
    if (call.method == "LeaseJob") return Lease(call);
    if (call.method == "UploadBlob") return Upload(call);
    if (call.method == "HasBlobs") {
      Call(&WorkerService::Stub::HasBlobs, call);
    } else if (call.method == "AppendLog") {
      const auto then = Parsed<worker::v1::AppendLogResponse>(call.answers.at(0));
      EXPECT_EQ(Call(&WorkerService::Stub::AppendLog, call).SerializeAsString(),
                then.SerializeAsString());
    } else if (call.method == "CommitCheckpoint") {
      Call(&WorkerService::Stub::CommitCheckpoint, call);
    } else if (call.method == "Heartbeat") {
      const auto then = Parsed<worker::v1::HeartbeatResponse>(call.answers.at(0));
      const auto again = Call(&WorkerService::Stub::Heartbeat, call);
      ASSERT_EQ(again.renewals_size(), then.renewals_size());
    } else if (call.method == "ReportEvents") {
      const auto then = Parsed<worker::v1::ReportEventsResponse>(call.answers.at(0));
      EXPECT_EQ(Call(&WorkerService::Stub::ReportEvents, call).acknowledged_batch(),
                then.acknowledged_batch());
    } else {
      ASSERT_EQ(call.method, "FinishAttempt") << "is not repeated here";
      EXPECT_EQ(Call(&WorkerService::Stub::FinishAttempt, call).state(), v1::JOB_STATE_SUCCEEDED);
    }
  }

  TempDir directory_;
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<WorkerService::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> connection_;
  std::unique_ptr<grpc::ClientReader<worker::v1::Command>> commands_;
};

TEST_P(ArchivedWorkerTest, RunsItsJobToItsEnd) {
  for (const RecordedCall& call : ReadRecordedCalls(GetParam())) Repeat(call);
  v1::GetAdapterRequest request;
  request.set_name("recorded");
  v1::Adapter adapter;
  ASSERT_TRUE(server_->adapters().GetAdapter(CallContext().get(), request, &adapter).ok());
  v1::Job job;
  v1::GetJobRequest get;
  get.set_name(adapter.job());
  ASSERT_TRUE(server_->jobs().GetJob(CallContext().get(), get, &job).ok());
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(job.result().adapter(), "recorded");
}

INSTANTIATE_TEST_SUITE_P(Archives, ArchivedWorkerTest, ::testing::ValuesIn(RecordedWorkers()),
                         [](const auto& info) { return absl::StrCat("Number", info.index); });

}  // namespace
}  // namespace graft
