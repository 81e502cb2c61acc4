// Uploads that stay silent, too many streams, too much memory: what they may hold, through the
// whole server.

#include "server/rpc/streams.h"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/catalogue/upload_room.h"
#include "tests/server/process/wait_until.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// An upload that has begun: its first message is on its way, and nothing follows.
class IdleUpload {
 public:
  explicit IdleUpload(v1::DatasetService::Stub& stub, int64_t size_bytes = 0)
      : writer_(stub.UploadDataset(context_.get(), &dataset_)) {
    v1::UploadDatasetRequest message;
    message.mutable_metadata()->set_name("idle");
    message.mutable_metadata()->set_size_bytes(size_bytes);
    writer_->Write(message);
  }
  ~IdleUpload() {
    context_->TryCancel();
    End();
  }
  bool Send(const std::string& bytes) {
    v1::UploadDatasetRequest message;
    message.set_data(bytes);
    return writer_->Write(message);
  }
  void WritesDone() { writer_->WritesDone(); }
  const absl::Status& End() {
    if (writer_ != nullptr) end_ = FromGrpcStatus(writer_->Finish());
    writer_ = nullptr;
    return end_;
  }

 private:
  const std::unique_ptr<grpc::ClientContext> context_ = CallContext();
  v1::Dataset dataset_;
  std::unique_ptr<grpc::ClientWriter<v1::UploadDatasetRequest>> writer_;
  absl::Status end_;
};

// A stub with a connection of its own, as another program has.
std::unique_ptr<v1::DatasetService::Stub> Stranger(TestServer& server) {
  grpc::ChannelArguments own;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return v1::DatasetService::NewStub(
      grpc::CreateCustomChannel(server.rpc().address(), grpc::InsecureChannelCredentials(), own));
}

void AwaitUploads(TestServer& server, int count) {
  const std::string line =
      absl::StrCat("graft_rpc_streams{method=\"DatasetService.UploadDataset\"} ", count, "\n");
  while (!absl::StrContains(server.registry().Text(), line)) std::this_thread::yield();
}

double ReceivedBytes(TestServer& server) {
  const std::string text = server.registry().Text();
  const std::string series =
      "graft_rpc_stream_bytes_total{direction=\"received\","
      "method=\"DatasetService.UploadDataset\"} ";
  const size_t at = text.find(series);
  return at == std::string::npos ? 0 : std::strtod(text.c_str() + at + series.size(), nullptr);
}

TestServerOptions FewStreams() {
  TestServerOptions options;
  options.limits.max_streams = 12;
  options.limits.max_streams_of_peer = 6;
  options.limits.reserved_streams = 4;
  options.limits.few_streams = 2;
  return options;
}

TEST(StreamsTest, AConnectionFullOfIdleUploadsStopsNeitherOthersNorWorkers) {
  TestServer server(FewStreams());
  const std::string job = server.Create(LoraJob())->name();
  std::vector<std::unique_ptr<v1::DatasetService::Stub>> strangers;
  std::vector<std::unique_ptr<IdleUpload>> uploads;
  for (int i = 0; i < 8; ++i) {
    if (i % 4 == 0) strangers.push_back(Stranger(server));
    uploads.push_back(std::make_unique<IdleUpload>(*strangers.back()));
  }
  AwaitUploads(server, 8);
  IdleUpload refused(*strangers.back());
  EXPECT_EQ(refused.End().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(RetryDelayOf(refused.End()), absl::ZeroDuration());
  EXPECT_THAT(std::string(refused.End().message()), HasSubstr("this one has 4"));

  const auto context = CallContext();
  v1::WatchJobRequest watch;
  watch.set_name(job);
  const auto reader = server.jobs().WatchJob(context.get(), watch);
  v1::WatchJobResponse event;
  EXPECT_TRUE(reader->Read(&event)) << "a newcomer watches";
  FakeWorker worker(server);
  EXPECT_TRUE(worker.Connect().has_welcome());
  const auto lease = worker.Lease("r1");
  ASSERT_TRUE(lease.ok() && !lease->job().empty());
  worker.UploadBlob("adapter.bin", "bytes");
  EXPECT_TRUE(worker.Heartbeat({*lease}, 0)->renewals(0).held());
  context->TryCancel();
  reader->Finish();
}

TEST(StreamsTest, AnUploadOfWhichNothingComesEnds) {
  FakeClock clock;
  TestServerOptions options;
  options.clock = &clock;
  TestServer server(options);
  // Of the data set that is there.
  double expected = ReceivedBytes(server);
  IdleUpload upload(server.datasets());
  v1::UploadDatasetRequest begin;
  begin.mutable_metadata()->set_name("idle");
  expected += static_cast<double>(begin.ByteSizeLong());
  // Slow, but never silent for long enough.
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(upload.Send(NewsRow(i)));
    v1::UploadDatasetRequest row;
    row.set_data(NewsRow(i));
    expected += static_cast<double>(row.ByteSizeLong());
    ASSERT_TRUE(WaitUntil([&] { return ReceivedBytes(server) == expected; })) << i;
    clock.Advance(0.9 * kUploadIdleLimit);
  }
  std::atomic<bool> over = false;
  std::thread time([&] {
    while (!over) clock.Advance(absl::Seconds(1));
  });
  EXPECT_EQ(upload.End().code(), absl::StatusCode::kDeadlineExceeded);
  over = true;
  time.join();
  EXPECT_THAT(std::string(upload.End().message()), HasSubstr("idle"));
  AwaitUploads(server, 0);
}

TEST(StreamsTest, AStreamThatIsNoUploadMayBeSilentWhenTheServerDrains) {
  FakeClock clock;
  TestServerOptions options;
  options.clock = &clock;
  TestServer server(options);
  FakeWorker worker(server);
  const auto context = CallContext();
  google::protobuf::Empty empty;
  const auto report = worker.stub().ReportGeneration(context.get(), &empty);
  const std::string line = "graft_rpc_streams{method=\"WorkerService.ReportGeneration\"} 1\n";
  while (!absl::StrContains(server.registry().Text(), line)) std::this_thread::yield();
  clock.Advance(2 * kUploadIdleLimit);
  server.rpc().context().worker_runtime.Drain();
  report->WritesDone();
  const absl::Status end = FromGrpcStatus(report->Finish());
  EXPECT_FALSE(absl::IsDeadlineExceeded(end)) << end;
}

TEST(StreamsTest, MessagesThatWaitForAThreadAreBounded) {
  TestServerOptions options;
  options.limits.max_buffer_bytes = 100'000;
  TestServer server(options);
  // Alone it is too large already, and leaves nothing behind.
  for (int i = 0; i < 3; ++i) {
    IdleUpload large(server.datasets());
    large.Send(std::string(200'000, 'x'));
    large.WritesDone();
    EXPECT_EQ(large.End().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(large.End().message()), HasSubstr("100000"));
  }
  v1::CreateJobRequest request = LoraJob();
  request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(
      1000, std::string(200'000, 'x'));
  EXPECT_EQ(server.Create(request).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(server.Upload("fits", NewsRows(20)).ok());
  EXPECT_TRUE(server.Create(LoraJob()).ok());
}

TEST(StreamsTest, AnUploadForWhichThereIsNoRoomEndsAtItsFirstMessage) {
  TestServer server;
  SetDiskSpaceForTest([](const std::string&) { return DiskSpace{1 << 20, int64_t{1} << 40}; });
  IdleUpload announced(server.datasets(), 1 << 20);
  EXPECT_EQ(ReasonOf(announced.End()), kReasonDiskFull);
  EXPECT_EQ(announced.End().code(), absl::StatusCode::kResourceExhausted);
  SetDiskSpaceForTest(nullptr);
  EXPECT_TRUE(server.Upload("fits", NewsRows(3)).ok());
}

}  // namespace
}  // namespace graft
