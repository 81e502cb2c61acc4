#pragma once

// A server of graft.worker.v1 that remembers what it was told, and can be taken away and brought
// back.

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/mutex.h"
#include "common/base/sha256.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "graft/worker/v1/worker.grpc.pb.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace graft {

class FakeServer : public worker::v1::WorkerService::Service {
 public:
  explicit FakeServer(std::string socket) : address_("unix://" + socket) { Start(); }
  ~FakeServer() override { Stop(); }

  const std::string& address() const { return address_; }
  void Start() {
    {
      MutexLock lock(mutex_);
      closing_ = false;
    }
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  void Stop() {
    if (server_ == nullptr) return;
    {
      MutexLock lock(mutex_);
      closing_ = true;
      changed_.NotifyAll();
    }
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

  void AddBlob(const std::string& bytes) {
    MutexLock lock(mutex_);
    blobs_[Sha256Hex(bytes)] = bytes;
    corrupt_.erase(Sha256Hex(bytes));
  }
  void RemoveBlob(const std::string& sha256) {
    MutexLock lock(mutex_);
    blobs_.erase(sha256);
  }
  // Its FetchBlob is DATA_LOSS, until it is added.
  void CorruptBlob(const std::string& sha256) {
    MutexLock lock(mutex_);
    corrupt_.insert(sha256);
  }
  // `lease`: what it carries besides.
  void AddJob(const std::string& id, int64_t lease_epoch = 1, worker::v1::Lease lease = {}) {
    MutexLock lock(mutex_);
    lease.set_job("jobs/" + id);
    lease.set_attempt(1);
    lease.set_lease_epoch(lease_epoch);
    lease.mutable_lease_duration()->set_seconds(60);
    lease.mutable_base_model()->set_sha256(Sha256Hex("base"));
    v1::Artifact& config = *lease.mutable_base_model()->add_files();
    config.set_path("config.json");
    config.set_sha256(Sha256Hex("{}"));
    config.set_size_bytes(2);
    blobs_[Sha256Hex("{}")] = "{}";
    AddLeaseLocked(lease);
  }
  // As it is.
  void AddLease(const worker::v1::Lease& lease) {
    MutexLock lock(mutex_);
    AddLeaseLocked(lease);
  }
  void AddLeaseLocked(const worker::v1::Lease& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    waiting_.push_back(lease);
    commands_.emplace_back().mutable_work_available();
    changed_.NotifyAll();
  }
  void Command(const worker::v1::Command& command) {
    MutexLock lock(mutex_);
    commands_.push_back(command);
    changed_.NotifyAll();
  }
  // Every report about the job's events is INVALID_ARGUMENT.
  void RefuseEventsOf(const std::string& id) {
    MutexLock lock(mutex_);
    refused_ = "jobs/" + id;
  }
  size_t largest_batch() {
    MutexLock lock(mutex_);
    return largest_batch_;
  }
  void MakeStale(const std::string& id) {
    MutexLock lock(mutex_);
    stale_.push_back("jobs/" + id);
  }
  // Blocks until the attempt of the job has ended.
  worker::v1::FinishAttemptRequest WaitForFinish(const std::string& id) {
    MutexLock lock(mutex_);
    while (!finished_.contains("jobs/" + id)) changed_.Wait(mutex_);
    return finished_["jobs/" + id];
  }
  void WaitForEvents(const std::string& id, size_t count) {
    MutexLock lock(mutex_);
    while (events_["jobs/" + id].size() < count) changed_.Wait(mutex_);
  }
  // "event N" and "checkpoint N", in the order in which they became durable.
  std::vector<std::string> History(const std::string& id) {
    MutexLock lock(mutex_);
    return history_["jobs/" + id];
  }
  bool HasBlob(const std::string& sha256) {
    MutexLock lock(mutex_);
    return blobs_.contains(sha256);
  }
  std::vector<worker::v1::ReportGenerationRequest> WaitForText(const std::string& id) {
    MutexLock lock(mutex_);
    while (!texts_.contains(id)) changed_.Wait(mutex_);
    return texts_[id];
  }
  // The answer to a Measure command.
  worker::v1::ReportMeasurementRequest WaitForMeasurement(const std::string& id) {
    MutexLock lock(mutex_);
    while (!measurements_.contains(id)) changed_.Wait(mutex_);
    return measurements_[id];
  }
  // A log as far as it came; a missing byte is a '?'.
  std::string Log(const std::string& id, v1::JobLogStream stream) {
    MutexLock lock(mutex_);
    return logs_[{"jobs/" + id, stream}];
  }
  void WaitForLog(const std::string& id, v1::JobLogStream stream, const std::string& text) {
    MutexLock lock(mutex_);
    while (!absl::StrContains(logs_[{"jobs/" + id, stream}], text)) changed_.Wait(mutex_);
  }
  // The answer to every AppendLog from here on.
  void AnswerLogsWith(grpc::Status status) {
    MutexLock lock(mutex_);
    log_status_ = std::move(status);
  }
  int64_t log_calls() {
    MutexLock lock(mutex_);
    return log_calls_;
  }
  // The latest progress that was reported.
  worker::v1::ReportEventsRequest LastReport(const std::string& id) {
    MutexLock lock(mutex_);
    return last_reports_["jobs/" + id];
  }
  int64_t duplicate_batches() {
    MutexLock lock(mutex_);
    return duplicate_batches_;
  }
  // Whether heartbeats are answered UNAVAILABLE from here on.
  void RefuseHeartbeats(bool refuse) {
    MutexLock lock(mutex_);
    refuse_heartbeats_ = refuse;
  }
  // Blocks until a heartbeat has come for which `wanted` is true; that one.
  worker::v1::HeartbeatRequest WaitForHeartbeat(
      const std::function<bool(const worker::v1::HeartbeatRequest&)>& wanted) {
    MutexLock lock(mutex_);
    for (size_t seen = 0;; ++seen) {
      while (seen == heartbeats_.size()) changed_.Wait(mutex_);
      if (wanted(heartbeats_[seen])) return heartbeats_[seen];
    }
  }
  // With which the leases that were given were asked for.
  std::vector<worker::v1::Capabilities> capabilities() {
    MutexLock lock(mutex_);
    return capabilities_;
  }
  std::vector<worker::v1::HeartbeatRequest> heartbeats() {
    MutexLock lock(mutex_);
    return heartbeats_;
  }
  // Whether it was told that the attempt of the job has ended.
  bool HasFinished(const std::string& id) {
    MutexLock lock(mutex_);
    return finished_.contains("jobs/" + id);
  }
  // From here on no report of events is answered, for as long as the worker waits.
  void HoldReports() {
    MutexLock lock(mutex_);
    hold_reports_ = true;
  }
  // From here on the bytes of blobs do not move, for as long as the worker waits for them.
  void HoldTransfers() {
    MutexLock lock(mutex_);
    hold_transfers_ = true;
  }
  void ReleaseTransfers() {
    MutexLock lock(mutex_);
    hold_transfers_ = false;
    changed_.NotifyAll();
  }
  // So many uploads find the disk full.
  void RefuseUploads(int uploads) {
    MutexLock lock(mutex_);
    uploads_refused_ = uploads;
  }
  // Blocks until a transfer, or a report, is being held.
  void WaitUntilHeld() {
    MutexLock lock(mutex_);
    while (held_ == 0) changed_.Wait(mutex_);
  }
  // The next answer to ReportEvents is lost after the batch was stored.
  void LoseNextAnswer() {
    MutexLock lock(mutex_);
    lose_answer_ = true;
  }

  grpc::Status Connect(grpc::ServerContext* context, const worker::v1::ConnectRequest*,
                       grpc::ServerWriter<worker::v1::Command>* writer) override {
    worker::v1::Command welcome;
    welcome.mutable_welcome()->mutable_heartbeat_interval()->set_nanos(20'000'000);
    welcome.mutable_welcome()->mutable_lease_margin()->set_seconds(5);
    writer->Write(welcome);
    size_t next = 0;
    for (;;) {
      worker::v1::Command command;
      {
        MutexLock lock(mutex_);
        while (next == commands_.size() && !closing_ && !context->IsCancelled()) {
          Clock::Real().WaitUntil(changed_, mutex_,
                                  Clock::Real().Boottime() + absl::Milliseconds(20));
        }
        if (closing_ || context->IsCancelled()) return grpc::Status::OK;
        command = commands_[next++];
      }
      writer->Write(command);
    }
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const worker::v1::HeartbeatRequest* request,
                         worker::v1::HeartbeatResponse* response) override {
    MutexLock lock(mutex_);
    heartbeats_.push_back(*request);
    changed_.NotifyAll();
    if (refuse_heartbeats_) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
    response->mutable_lease_duration()->set_seconds(60);
    for (const auto& held : request->leases()) {
      auto& renewal = *response->add_renewals();
      renewal.set_job(held.job());
      renewal.set_lease_epoch(held.lease_epoch());
      renewal.set_held(!IsStale(held.job()));
    }
    return grpc::Status::OK;
  }
  grpc::Status LeaseJob(grpc::ServerContext*, const worker::v1::LeaseJobRequest* request,
                        worker::v1::LeaseJobResponse* response) override {
    MutexLock lock(mutex_);
    if (waiting_.empty()) return grpc::Status::OK;
    capabilities_.push_back(request->capabilities());
    *response->mutable_lease() = waiting_.front();
    waiting_.erase(waiting_.begin());
    return grpc::Status::OK;
  }
  grpc::Status ReportEvents(grpc::ServerContext* context,
                            const worker::v1::ReportEventsRequest* request,
                            worker::v1::ReportEventsResponse* response) override {
    Hold(*context, &FakeServer::hold_reports_);
    MutexLock lock(mutex_);
    if (IsStale(request->job())) return Stale();
    if (refused_ == request->job()) return {grpc::StatusCode::INVALID_ARGUMENT, "no such event"};
    largest_batch_ = std::max(largest_batch_, request->ByteSizeLong());
    if (request->batch() <= batches_[request->job()]) {
      ++duplicate_batches_;
    } else {
      batches_[request->job()] = request->batch();
      last_reports_[request->job()] = *request;
      for (const v1::JobEvent& event : request->events()) {
        events_[request->job()].push_back(event);
        history_[request->job()].push_back(absl::StrCat("event ", event.metrics().step()));
      }
    }
    changed_.NotifyAll();
    response->set_acknowledged_batch(batches_[request->job()]);
    if (!std::exchange(lose_answer_, false)) return grpc::Status::OK;
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
  }
  grpc::Status CommitCheckpoint(grpc::ServerContext*,
                                const worker::v1::CommitCheckpointRequest* request,
                                google::protobuf::Empty*) override {
    MutexLock lock(mutex_);
    for (const auto& file : request->files()) {
      if (!blobs_.contains(file.sha256())) {
        return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "not uploaded");
      }
    }
    history_[request->job()].push_back(absl::StrCat(
        "checkpoint ", request->step(), request->execution().device().empty() ? "" : " on ",
        request->execution().device()));
    return grpc::Status::OK;
  }
  grpc::Status FinishAttempt(grpc::ServerContext*, const worker::v1::FinishAttemptRequest* request,
                             worker::v1::FinishAttemptResponse*) override {
    MutexLock lock(mutex_);
    if (IsStale(request->job())) return Stale();
    finished_[request->job()] = *request;
    changed_.NotifyAll();
    return grpc::Status::OK;
  }
  grpc::Status AppendLog(grpc::ServerContext*, const worker::v1::AppendLogRequest* request,
                         worker::v1::AppendLogResponse* response) override {
    MutexLock lock(mutex_);
    ++log_calls_;
    changed_.NotifyAll();
    if (!log_status_.ok()) return log_status_;
    std::string& log = logs_[{request->job(), request->stream()}];
    if (log.size() < static_cast<size_t>(request->offset_bytes())) {
      log.resize(request->offset_bytes(), '?');
    }
    const size_t known = log.size() - request->offset_bytes();
    if (known < request->data().size()) log += request->data().substr(known);
    response->set_end_bytes(static_cast<int64_t>(log.size()));
    return grpc::Status::OK;
  }
  grpc::Status HasBlobs(grpc::ServerContext*, const worker::v1::HasBlobsRequest* request,
                        worker::v1::HasBlobsResponse* response) override {
    MutexLock lock(mutex_);
    for (const std::string& sha256 : request->sha256()) {
      if (!blobs_.contains(sha256)) response->add_missing(sha256);
    }
    return grpc::Status::OK;
  }
  grpc::Status UploadBlob(grpc::ServerContext* context,
                          grpc::ServerReader<worker::v1::UploadBlobRequest>* reader,
                          google::protobuf::Empty*) override {
    Hold(*context, &FakeServer::hold_transfers_);
    worker::v1::UploadBlobRequest message;
    reader->Read(&message);
    const std::string sha256 = message.metadata().sha256();
    std::string bytes;
    while (reader->Read(&message)) bytes += message.data();
    if (Sha256Hex(bytes) != sha256) return grpc::Status(grpc::StatusCode::DATA_LOSS, "hash");
    MutexLock lock(mutex_);
    if (uploads_refused_ > 0 && uploads_refused_-- > 0) return ToGrpcStatus(DiskFull("no room"));
    blobs_[sha256] = bytes;
    return grpc::Status::OK;
  }
  grpc::Status FetchBlob(grpc::ServerContext* context, const worker::v1::FetchBlobRequest* request,
                         grpc::ServerWriter<worker::v1::BlobChunk>* writer) override {
    Hold(*context, &FakeServer::hold_transfers_);
    worker::v1::BlobChunk chunk;
    {
      MutexLock lock(mutex_);
      if (corrupt_.contains(request->sha256())) {
        return grpc::Status(grpc::StatusCode::DATA_LOSS, "blob is corrupt");
      }
      if (!blobs_.contains(request->sha256())) return grpc::Status(grpc::StatusCode::NOT_FOUND, "");
      chunk.set_data(blobs_[request->sha256()]);
    }
    writer->Write(chunk);
    return grpc::Status::OK;
  }
  grpc::Status ReportMeasurement(grpc::ServerContext*,
                                 const worker::v1::ReportMeasurementRequest* request,
                                 google::protobuf::Empty*) override {
    MutexLock lock(mutex_);
    measurements_[request->id()] = *request;
    changed_.NotifyAll();
    return grpc::Status::OK;
  }
  grpc::Status ReportGeneration(grpc::ServerContext*,
                                grpc::ServerReader<worker::v1::ReportGenerationRequest>* reader,
                                google::protobuf::Empty*) override {
    std::vector<worker::v1::ReportGenerationRequest> messages;
    worker::v1::ReportGenerationRequest message;
    while (reader->Read(&message)) messages.push_back(message);
    MutexLock lock(mutex_);
    texts_[messages.front().id()] = messages;
    changed_.NotifyAll();
    return grpc::Status::OK;
  }

 private:
  // Until the caller has gone, if so told.
  void Hold(grpc::ServerContext& context, bool FakeServer::*told) {
    MutexLock lock(mutex_);
    if (!(this->*told)) return;
    ++held_;
    changed_.NotifyAll();
    while (this->*told && !closing_ && !context.IsCancelled())
      Clock::Real().WaitUntil(changed_, mutex_, Clock::Real().Boottime() + absl::Milliseconds(20));
  }
  bool IsStale(const std::string& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::find(stale_.begin(), stale_.end(), job) != stale_.end();
  }
  static grpc::Status Stale() {
    return ToGrpcStatus(
        WithReason(absl::FailedPreconditionError("stale lease"), kReasonStaleLease));
  }

  const std::string address_;
  std::unique_ptr<grpc::Server> server_;
  Mutex mutex_;
  CondVar changed_;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool lose_answer_ ABSL_GUARDED_BY(mutex_) = false;
  bool hold_reports_ ABSL_GUARDED_BY(mutex_) = false;
  bool hold_transfers_ ABSL_GUARDED_BY(mutex_) = false;
  int held_ ABSL_GUARDED_BY(mutex_) = 0;
  int uploads_refused_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t duplicate_batches_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<worker::v1::HeartbeatRequest> heartbeats_ ABSL_GUARDED_BY(mutex_);
  std::vector<worker::v1::Capabilities> capabilities_ ABSL_GUARDED_BY(mutex_);
  bool refuse_heartbeats_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<worker::v1::Lease> waiting_ ABSL_GUARDED_BY(mutex_);
  std::vector<worker::v1::Command> commands_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> stale_ ABSL_GUARDED_BY(mutex_);
  std::string refused_ ABSL_GUARDED_BY(mutex_);
  size_t largest_batch_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::pair<std::string, int>, std::string> logs_ ABSL_GUARDED_BY(mutex_);
  grpc::Status log_status_ ABSL_GUARDED_BY(mutex_);
  int64_t log_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int64_t> batches_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, worker::v1::ReportEventsRequest> last_reports_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<v1::JobEvent>> events_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<std::string>> history_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, worker::v1::FinishAttemptRequest> finished_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> blobs_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> corrupt_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<worker::v1::ReportGenerationRequest>> texts_
      ABSL_GUARDED_BY(mutex_);
  std::map<std::string, worker::v1::ReportMeasurementRequest> measurements_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
