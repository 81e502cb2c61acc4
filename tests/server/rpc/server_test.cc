#include "server/rpc/server.h"

#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/synchronization/notification.h"
#include "common/base/file.h"
#include "common/base/subprocess.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"
#include "tests/server/store/changes_heard.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Installed, or unpacked by tools/setup --tests.
std::string Promtool() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string unpacked = "/graft/prometheus/usr/bin/promtool";
  for (const std::string& path :
       {std::string("/usr/bin/promtool"), absl::StrCat(cache == nullptr ? "" : cache, unpacked),
        absl::StrCat(home == nullptr ? "" : home, "/.cache", unpacked)}) {
    if (FileExists(path)) return path;
  }
  return "";
}

// grpc.health.v1.Health.Check; its answer's only field is the status: 1 is SERVING, 2 NOT_SERVING.
absl::StatusOr<uint64_t> CheckHealth(TestServer& server) {
  using google::protobuf::Empty;
  grpc::TemplatedGenericStub<Empty, Empty> stub(server.channel());
  const auto context = CallContext();
  Empty request, response;
  absl::Notification done;
  grpc::Status status;
  stub.UnaryCall(context.get(), "/grpc.health.v1.Health/Check", {}, &request, &response,
                 [&](grpc::Status end) {
                   status = end;
                   done.Notify();
                 });
  done.WaitForNotification();
  if (!status.ok()) return FromGrpcStatus(status);
  const auto& fields = response.GetReflection()->GetUnknownFields(response);
  return fields.field_count() == 1 ? fields.field(0).varint() : 0;
}

TEST(ServerTest, HealthIsServedWhileTheServerIs) {
  TestServer server;
  EXPECT_EQ(*CheckHealth(server), 1u);
  server.rpc().Stop(absl::Seconds(10));
  EXPECT_EQ(CheckHealth(server).status().code(), absl::StatusCode::kUnavailable);
}

TEST(ServerTest, TwoServersCannotShareAPort) {
  TestServer first;
  RpcServerOptions options;
  options.listen = first.rpc().address();
  options.worker_listen = absl::StrCat("unix:", first.directory().Path("other.sock"));
  MetricRegistry registry;
  ServerTelemetry telemetry(registry, Clock::Real());
  Scheduler scheduler(first.store(), Clock::Real());
  const auto second = RpcServer::Start(
      options, {Clock::Real(), registry, first.store(), first.blobs(), first.publisher(),
                first.logs(), scheduler, telemetry, first.partials()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(first.rpc().address()));
}

TEST(ServerTest, AConnectionWithoutACallIsClosedAndConnectsAgainByItself) {
  TestServerOptions options;
  options.limits.connection_idle = absl::Milliseconds(100);
  TestServer server(options);
  const auto channel = server.channel();
  EXPECT_EQ(*CheckHealth(server), 1u);
  const auto patience = std::chrono::system_clock::now() + std::chrono::seconds(60);
  ASSERT_TRUE(channel->WaitForStateChange(GRPC_CHANNEL_READY, patience));
  EXPECT_EQ(channel->GetState(false), GRPC_CHANNEL_IDLE);
  EXPECT_EQ(*CheckHealth(server), 1u);
}

TEST(ServerTest, UsersCannotReachTheWorkersService) {
  TestServer server;
  const auto stub = worker::v1::WorkerService::NewStub(server.channel());
  worker::v1::LeaseJobResponse response;
  const auto context = CallContext();
  EXPECT_EQ(FromGrpcStatus(stub->LeaseJob(context.get(), {}, &response)).code(),
            absl::StatusCode::kUnimplemented);
}

TEST(ServerTest, ADrainingServerLeasesNothingAndThenRefusesCalls) {
  TestServer server;
  FakeWorker worker(server);
  ASSERT_TRUE(server.Create(LoraJob()).ok());
  server.rpc().context().worker_runtime.Drain();
  EXPECT_EQ(worker.Lease("r1")->job(), "");
  server.rpc().Stop(absl::Seconds(10));
  EXPECT_EQ(server.Create(LoraJob()).status().code(), absl::StatusCode::kUnavailable);
}

TEST(ServerTest, MetricsTellOfJobsCallsCommitsAndWorkers) {
  TestServer server;
  ChangesHeard changes(server.store());
  FakeWorker worker(server);
  worker.Connect();
  const std::string job = server.Create(LoraJob())->name();
  ASSERT_TRUE(server.Create(LoraJob()).ok());
  const auto lease = worker.Lease("r1");
  v1::JobEvent evaluation;
  evaluation.mutable_evaluation()->set_step(2);
  (*evaluation.mutable_evaluation()->mutable_values())["eval/rougeLsum"] = 0.5;
  ASSERT_TRUE(worker.Report(*lease, 1, {StepEvent(1, 2.5), StepEvent(2, 2.25), evaluation}).ok());
  changes.WaitForAll();
  const std::string text = server.registry().Text();
  EXPECT_THAT(text, HasSubstr("graft_jobs{method=\"lora\",state=\"RUNNING\"} 1"));
  EXPECT_THAT(text, HasSubstr("graft_jobs{method=\"lora\",state=\"QUEUED\"} 1"));
  EXPECT_THAT(text,
              HasSubstr("graft_job_loss_nats{job_name=\"" + job + "\",split=\"train\"} 2.25"));
  EXPECT_THAT(text,
              HasSubstr("graft_job_rouge_ratio{job_name=\"" + job + "\",kind=\"rougeLsum\"} 0.5"));
  EXPECT_THAT(text,
              HasSubstr("graft_rpc_calls_total{code=\"OK\",method=\"JobService.CreateJob\"} 2"));
  EXPECT_THAT(text, HasSubstr("graft_train_step_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("graft_train_tokens_total 1000"));
  EXPECT_THAT(text, HasSubstr("graft_job_queue_wait_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("graft_queue_oldest_wait_seconds "));
  EXPECT_THAT(text, HasSubstr("graft_queue_head_wait_seconds "));
  EXPECT_THAT(text, HasSubstr("graft_workers 1"));
  EXPECT_THAT(text, HasSubstr("graft_rpc_streams{method=\"WorkerService.Connect\"} 1"));
  EXPECT_THAT(text, HasSubstr("graft_store_commit_seconds_count"));

  // Series of a job go with the job.
  worker::v1::FinishAttemptRequest end;
  end.mutable_cancelled();
  ASSERT_TRUE(server.Cancel(job).ok());
  ASSERT_TRUE(worker.Finish(*lease, 1, end).ok());
  changes.WaitForAll();
  EXPECT_THAT(server.registry().Text(), Not(HasSubstr(job)));
}

TEST(ServerTest, MetricsTellOfAWorkerThatIsAway) {
  TestServer server;
  FakeWorker worker(server);
  worker.Connect();
  EXPECT_THAT(server.registry().Text(),
              HasSubstr("graft_worker_up{hostname=\"\",worker=\"w1\"} 1"));
  worker.Disconnect();
  std::string text;
  // The server learns of the stream's end a little later.
  do {
    text = server.registry().Text();
  } while (absl::StrContains(text, "graft_workers 1"));
  EXPECT_THAT(text, HasSubstr("graft_worker_up{hostname=\"\",worker=\"w1\"} 0"));
  EXPECT_THAT(text, HasSubstr("graft_worker_slots{state=\"free\"} 0"));
}

TEST(ServerTest, MetricsTellOfFailuresByTheirClass) {
  TestServer server;
  ChangesHeard changes(server.store());
  FakeWorker worker(server);
  worker.Connect();
  // They are there before the first failure, which else would be no increase.
  EXPECT_THAT(server.registry().Text(), HasSubstr("graft_job_failures_total{class=\"DATA\"} 0"));
  EXPECT_THAT(server.registry().Text(), HasSubstr("graft_jobs_ended_total{state=\"FAILED\"} 0"));
  ASSERT_TRUE(server.Create(LoraJob()).ok());
  const auto lease = worker.Lease("r1");
  worker::v1::FinishAttemptRequest end;
  end.mutable_failed()->set_failure_class(v1::FAILURE_CLASS_DATA);
  ASSERT_TRUE(worker.Finish(*lease, 0, end).ok());
  changes.WaitForAll();
  const std::string text = server.registry().Text();
  EXPECT_THAT(text, HasSubstr("graft_job_failures_total{class=\"DATA\"} 1"));
  EXPECT_THAT(text, HasSubstr("graft_job_failures_total{class=\"INTERNAL\"} 0"));
  EXPECT_THAT(text, HasSubstr("graft_jobs_ended_total{state=\"FAILED\"} 1"));
}

// A worker whose engine crashed once, under one server and then under the next.
TEST(ServerTest, TwoServersInARowCountACrashOnce) {
  worker::v1::HeartbeatRequest heartbeat;
  heartbeat.mutable_worker()->set_id("w1");
  heartbeat.mutable_worker()->set_instance("i1");
  const auto told = [&](int64_t total, int64_t acknowledged, TestServer& server) {
    heartbeat.set_engine_restarts_total(total);
    heartbeat.set_engine_restarts_acknowledged(acknowledged);
    const auto stub = worker::v1::WorkerService::NewStub(server.worker_channel());
    const auto context = CallContext();
    worker::v1::HeartbeatResponse response;
    EXPECT_TRUE(stub->Heartbeat(context.get(), heartbeat, &response).ok());
    return server.registry().Text();
  };
  {
    TestServer server;
    EXPECT_THAT(told(0, 0, server), HasSubstr("graft_engine_restarts_total{worker=\"w1\"} 0"));
    EXPECT_THAT(told(1, 0, server), HasSubstr("graft_engine_restarts_total{worker=\"w1\"} 1"));
    EXPECT_THAT(told(1, 1, server), HasSubstr("graft_engine_restarts_total{worker=\"w1\"} 1"));
  }
  TestServer next;
  EXPECT_THAT(told(1, 1, next), HasSubstr("graft_engine_restarts_total{worker=\"w1\"} 0"));
  EXPECT_THAT(told(1, 1, next), HasSubstr("graft_engine_restarts_total{worker=\"w1\"} 0"));
  EXPECT_THAT(told(2, 1, next), HasSubstr("graft_engine_restarts_total{worker=\"w1\"} 1"));
}

TEST(ServerTest, MetricsPassPromtool) {
  TestServer server;
  FakeWorker worker(server);
  worker.Connect();
  ASSERT_TRUE(server.Create(LoraJob()).ok());
  const auto lease = worker.Lease("r1");
  ASSERT_TRUE(worker.Report(*lease, 1, {StepEvent(1, 2.5), StepEvent(2, 2.25)}).ok());
  const std::string program = Promtool();
  if (program.empty()) GTEST_SKIP() << "promtool is not there (Debian package prometheus)";
  // promtool reads standard input only.
  const std::string script = server.directory().Path("check.sh");
  const std::string metrics = server.directory().Path("metrics.txt");
  ASSERT_TRUE(WriteFileAtomically(metrics, server.registry().Text()).ok());
  ASSERT_TRUE(
      WriteFileAtomically(script, program + " check metrics < \"$1\" > \"$1.log\" 2>&1\n").ok());
  SubprocessOptions options;
  options.argv = {"/bin/sh", script, metrics};
  auto process = Subprocess::Start(options);
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_TRUE(process->Wait().success()) << *ReadFile(metrics + ".log", 1 << 20);
}

}  // namespace
}  // namespace graft
