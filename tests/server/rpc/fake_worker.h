#pragma once

// A worker that speaks WorkerService and has no engine: tests say what it reports.

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/sha256.h"
#include "common/rpc/status.h"
#include "graft/worker/v1/worker.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/test_server.h"

namespace graft {

class FakeWorker {
 public:
  explicit FakeWorker(TestServer& server, const std::string& id = "w1",
                      const std::string& instance = "i1")
      : stub_(worker::v1::WorkerService::NewStub(server.worker_channel())) {
    identity_.set_id(id);
    identity_.set_instance(instance);
  }
  ~FakeWorker() { Disconnect(); }

  // Opens the command stream and waits for the welcome.
  worker::v1::Command Connect(int slots = 1) { return Connect(slots, {}); }
  // As one that says more of itself.
  worker::v1::Command Connect(int slots, worker::v1::ConnectRequest request) {
    *request.mutable_worker() = identity_;
    request.set_slots(slots);
    request.add_devices("cuda:0 Fake");
    if (request.engine_threads() == 0) request.set_engine_threads(3);
    connection_ = CallContext();
    reader_ = stub_->Connect(connection_.get(), request);
    thread_ = std::thread([this] {
      worker::v1::Command command;
      while (reader_->Read(&command)) {
        MutexLock lock(mutex_);
        commands_.push_back(command);
        changed_.NotifyAll();
      }
      MutexLock lock(mutex_);
      ended_ = true;
      changed_.NotifyAll();
    });
    return NextCommand();
  }

  void Disconnect() {
    if (!thread_.joinable()) return;
    {
      MutexLock lock(mutex_);
      if (!ended_) connection_->TryCancel();
    }
    thread_.join();
    end_ = FromGrpcStatus(reader_->Finish());
  }

  // The next command; an empty one when none comes within 30 s or the stream has ended.
  worker::v1::Command NextCommand() {
    MutexLock lock(mutex_);
    Clock& clock = Clock::Real();
    const absl::Duration deadline = clock.Boottime() + absl::Seconds(30);
    while (commands_.empty() && !ended_ && clock.WaitUntil(changed_, mutex_, deadline)) {
    }
    if (commands_.empty()) return {};
    worker::v1::Command command = std::move(commands_.front());
    commands_.pop_front();
    return command;
  }

  // Passes over others.
  worker::v1::Command NextCommand(worker::v1::Command::CommandCase kind) {
    worker::v1::Command command;
    do {
      command = NextCommand();
    } while (command.command_case() != kind &&
             command.command_case() != worker::v1::Command::COMMAND_NOT_SET);
    return command;
  }

  absl::StatusOr<worker::v1::Lease> Lease(const std::string& request_id) {
    return Lease(request_id, {});
  }
  // Of a worker that says what it can do.
  absl::StatusOr<worker::v1::Lease> Lease(const std::string& request_id,
                                          worker::v1::LeaseJobRequest request) {
    *request.mutable_worker() = identity_;
    request.set_request_id(request_id);
    worker::v1::LeaseJobResponse response;
    const auto context = CallContext();
    const absl::Status status = FromGrpcStatus(stub_->LeaseJob(context.get(), request, &response));
    if (!status.ok()) return status;
    return response.lease();
  }

  // For a job whose back-off of a millisecond may not have passed yet.
  absl::StatusOr<worker::v1::Lease> LeaseSoon(const std::string& request_id) {
    absl::StatusOr<worker::v1::Lease> lease = Lease(request_id);
    for (int i = 0; lease.ok() && lease->job().empty() && i < 10'000; ++i) {
      lease = Lease(absl::StrCat(request_id, "-", i));
    }
    return lease;
  }

  absl::StatusOr<int64_t> Report(const worker::v1::Lease& lease, int64_t batch,
                                 const std::vector<v1::JobEvent>& events) {
    worker::v1::ReportEventsRequest request;
    request.set_stage(v1::JOB_STAGE_TRAINING);
    request.set_total_steps(100);
    return Report(lease, batch, events, std::move(request));
  }
  // With the progress that `request` tells.
  absl::StatusOr<int64_t> Report(const worker::v1::Lease& lease, int64_t batch,
                                 const std::vector<v1::JobEvent>& events,
                                 worker::v1::ReportEventsRequest request) {
    Fill(lease, request);
    request.set_batch(batch);
    for (const v1::JobEvent& event : events) *request.add_events() = event;
    worker::v1::ReportEventsResponse response;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(stub_->ReportEvents(context.get(), request, &response));
    if (!status.ok()) return status;
    return response.acknowledged_batch();
  }

  v1::Artifact UploadBlob(const std::string& path, const std::string& bytes) {
    v1::Artifact artifact;
    artifact.set_path(path);
    artifact.set_size_bytes(static_cast<int64_t>(bytes.size()));
    artifact.set_sha256(Sha256Hex(bytes));
    const absl::Status status = UploadBlobAs(artifact, bytes);
    EXPECT_TRUE(status.ok()) << status;
    return artifact;
  }

  absl::Status UploadBlobAs(const v1::Artifact& artifact, const std::string& bytes) {
    const auto context = CallContext();
    google::protobuf::Empty empty;
    const auto writer = stub_->UploadBlob(context.get(), &empty);
    worker::v1::UploadBlobRequest message;
    message.mutable_metadata()->set_sha256(artifact.sha256());
    message.mutable_metadata()->set_size_bytes(artifact.size_bytes());
    writer->Write(message);
    message.set_data(bytes);
    writer->Write(message);
    writer->WritesDone();
    return FromGrpcStatus(writer->Finish());
  }

  absl::StatusOr<v1::JobState> Finish(const worker::v1::Lease& lease, int64_t last_batch,
                                      worker::v1::FinishAttemptRequest request) {
    Fill(lease, request);
    request.set_last_batch(last_batch);
    worker::v1::FinishAttemptResponse response;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(stub_->FinishAttempt(context.get(), request, &response));
    if (!status.ok()) return status;
    return response.state();
  }

  absl::StatusOr<worker::v1::HeartbeatResponse> Heartbeat(
      const std::vector<worker::v1::Lease>& leases, int free_slots) {
    worker::v1::HeartbeatRequest request;
    *request.mutable_worker() = identity_;
    for (const worker::v1::Lease& lease : leases) {
      auto* held = request.add_leases();
      held->set_job(lease.job());
      held->set_lease_epoch(lease.lease_epoch());
    }
    request.set_free_slots(free_slots);
    worker::v1::HeartbeatResponse response;
    const auto context = CallContext();
    const absl::Status status = FromGrpcStatus(stub_->Heartbeat(context.get(), request, &response));
    if (!status.ok()) return status;
    return response;
  }

  // Returns the log's end.
  absl::StatusOr<int64_t> AppendLog(const std::string& job, int32_t attempt, int64_t offset,
                                    const std::string& data,
                                    v1::JobLogStream stream = v1::JOB_LOG_STREAM_ENGINE) {
    worker::v1::AppendLogRequest request;
    *request.mutable_worker() = identity_;
    request.set_job(job);
    request.set_attempt(attempt);
    request.set_stream(stream);
    request.set_offset_bytes(offset);
    request.set_data(data);
    worker::v1::AppendLogResponse response;
    const auto context = CallContext();
    const absl::Status status = FromGrpcStatus(stub_->AppendLog(context.get(), request, &response));
    if (!status.ok()) return status;
    return response.end_bytes();
  }

  worker::v1::WorkerService::Stub& stub() { return *stub_; }
  const worker::v1::WorkerIdentity& identity() const { return identity_; }
  const absl::Status& end() const { return end_; }

 private:
  template <typename Request>
  void Fill(const worker::v1::Lease& lease, Request& request) {
    *request.mutable_worker() = identity_;
    request.set_job(lease.job());
    request.set_lease_epoch(lease.lease_epoch());
  }

  const std::unique_ptr<worker::v1::WorkerService::Stub> stub_;
  worker::v1::WorkerIdentity identity_;
  std::unique_ptr<grpc::ClientContext> connection_;
  std::unique_ptr<grpc::ClientReader<worker::v1::Command>> reader_;
  std::thread thread_;
  absl::Status end_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<worker::v1::Command> commands_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

inline v1::JobEvent StepEvent(int64_t step, double loss) {
  v1::JobEvent event;
  event.mutable_create_time()->set_seconds(1'750'000'000 + step);
  event.mutable_metrics()->set_step(step);
  event.mutable_metrics()->set_total_steps(100);
  (*event.mutable_metrics()->mutable_values())["train/loss"] = loss;
  (*event.mutable_metrics()->mutable_values())["train/tokens_per_second"] = 1000;
  return event;
}

}  // namespace graft
