#pragma once

// Stream reactors: gRPC's callbacks turned into sources and sinks (streams/message_stream.h), which
// run on the executor.
//
// The reactor owns the source or sink, destroys it when the stream is over, and deletes itself.

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/failpoint.h"
#include "common/base/mutex.h"
#include "common/rpc/status.h"
#include "server/rpc/call.h"
#include "server/streams/message_stream.h"

namespace graft {

template <typename Message>
using SourceFactory = std::function<absl::StatusOr<std::unique_ptr<MessageSource<Message>>>(
    const Caller& caller, std::shared_ptr<StreamWaker> waker)>;

template <typename Message>
class ServerStream final : public grpc::ServerWriteReactor<Message> {
 public:
  // `make` runs in the call's lane, before the first message.
  ServerStream(RpcRuntime& runtime, grpc::CallbackServerContext* context,
               const google::protobuf::Message& request, CallInfo call, SourceFactory<Message> make)
      : runtime_(runtime),
        call_(std::move(call)),
        caller_(RpcRuntime::CallerOf(*context)),
        start_(runtime.clock().Boottime()),
        waker_(std::make_shared<StreamWaker>([this] { Wake(); })),
        make_(std::move(make)) {
    // The request lives as long as the stream.
    const auto bytes = static_cast<int64_t>(request.ByteSizeLong());
    absl::Status admitted = runtime_.admission().TakeBytes(bytes);
    if (admitted.ok()) {
      request_bytes_ = bytes;
      admitted = runtime_.BeginStream(call_, caller_, waker_);
    }
    if (admitted.ok()) {
      TakeTurn();
    } else {
      End(admitted);
    }
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(mutex_);
      state_ = State::kTurn;
      if (!ok) cancelled_ = true;
    }
    TakeTurn();
  }

  void OnCancel() override {
    {
      MutexLock lock(mutex_);
      cancelled_ = true;
    }
    Wake();
  }

  void OnDone() override {
    waker_->Detach();
    runtime_.admission().ReturnBytes(request_bytes_);
    runtime_.EndStream(call_, caller_, status_, start_, waker_);
    delete this;
  }

 private:
  // kTurn: in the executor, waiting for a thread or running there.
  enum class State { kTurn, kIdle, kWriting, kEnded };

  void TakeTurn() {
    runtime_.executor(call_.lane).Schedule([this] { Turn(); });
  }

  void Wake() {
    MutexLock lock(mutex_);
    if (state_ == State::kIdle) {
      state_ = State::kTurn;
      TakeTurn();
    } else {
      woken_ = true;
    }
  }

  // After StartWrite and Finish another thread may be in this object, or it may be gone.
  void Turn() {
    while (true) {
      bool cancelled = false;
      {
        MutexLock lock(mutex_);
        woken_ = false;
        cancelled = cancelled_;
      }
      if (cancelled) return End(absl::CancelledError("the caller has gone"));
      if (call_.endless && runtime_.draining()) {
        return End(absl::UnavailableError("the server is going away; connect again"));
      }
      message_.Clear();
      const absl::StatusOr<SourceState> next = Ask();
      if (!next.ok()) return End(next.status());
      if (*next == SourceState::kEnd) return End(absl::OkStatus());
      MutexLock lock(mutex_);
      if (*next == SourceState::kMessage) {
        state_ = State::kWriting;
        break;
      }
      if (woken_) continue;
      state_ = State::kIdle;
      return;
    }
    runtime_.CountStreamBytes(call_, /*sent=*/true, message_.ByteSizeLong());
    Failpoint("rpc", call_.method, "before_send");
    this->StartWrite(&message_);
  }

  absl::StatusOr<SourceState> Ask() {
    if (source_ == nullptr) {
      auto made = make_(caller_, waker_);
      if (!made.ok()) return made.status();
      source_ = *std::move(made);
    }
    return source_->Next(&message_);
  }

  void End(const absl::Status& status) {
    {
      MutexLock lock(mutex_);
      state_ = State::kEnded;
    }
    status_ = status;
    // Before Finish, so that what the source holds is free when the caller sees the end.
    source_ = nullptr;
    make_ = nullptr;
    this->Finish(ToGrpcStatus(status));
  }

  RpcRuntime& runtime_;
  const CallInfo call_;
  const Caller caller_;
  const absl::Duration start_;  // Boottime.
  const std::shared_ptr<StreamWaker> waker_;
  int64_t request_bytes_ = 0;  // Taken from the admission.

  Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kTurn;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;

  // Owned by whoever has the turn.
  SourceFactory<Message> make_;
  std::unique_ptr<MessageSource<Message>> source_;
  Message message_;
  absl::Status status_;
};

template <typename Request>
using SinkFactory =
    std::function<absl::StatusOr<std::unique_ptr<MessageSink<Request>>>(const Caller& caller)>;

// An upload (Lane::kBulk) of which nothing comes for AdmissionLimits::upload_idle ends with
// DEADLINE_EXCEEDED; its messages are worked off in that lane, and its end in Lane::kLong. Other
// streams may be silent, and end in their own lane.
template <typename Request>
class ClientStream final : public grpc::ServerReadReactor<Request> {
 public:
  ClientStream(RpcRuntime& runtime, grpc::CallbackServerContext* context, CallInfo call,
               SinkFactory<Request> make)
      : runtime_(runtime),
        call_(std::move(call)),
        caller_(RpcRuntime::CallerOf(*context)),
        start_(runtime.clock().Boottime()),
        waker_(std::make_shared<StreamWaker>([this] { EndIfIdle(); })),
        make_(std::move(make)),
        heard_(start_) {
    const absl::Status admitted = runtime_.BeginStream(call_, caller_, waker_);
    if (admitted.ok()) {
      if (is_upload()) runtime_.WakeRegularly(waker_);
      this->StartRead(&message_);
    } else {
      End(admitted);
    }
  }

  void OnReadDone(bool ok) override {
    {
      MutexLock lock(mutex_);
      if (state_ == State::kEnded) return;  // Idle, and this is the read that it broke off.
      state_ = State::kTurn;
    }
    if (!ok) {
      const Lane lane = is_upload() ? Lane::kLong : call_.lane;
      runtime_.executor(lane).Schedule([this] { LastTurn(); });
      return;
    }
    const auto bytes = static_cast<int64_t>(message_.ByteSizeLong());
    absl::Status admitted = runtime_.admission().TakeBytes(bytes);
    if (admitted.ok()) {
      message_bytes_ = bytes;
    } else {
      DropMessage();
    }
    runtime_.executor(call_.lane).Schedule([this, admitted] { Turn(admitted); });
  }

  void OnDone() override {
    waker_->Detach();
    runtime_.EndStream(call_, caller_, status_, start_, waker_);
    delete this;
  }

 private:
  enum class State { kReading, kTurn, kEnded };

  bool is_upload() const { return call_.lane == Lane::kBulk; }

  void EndIfIdle() {
    if (!is_upload()) return;
    const absl::Duration limit = runtime_.admission().limits().upload_idle;
    MutexLock lock(mutex_);
    if (state_ != State::kReading || runtime_.clock().Boottime() - heard_ < limit) return;
    state_ = State::kEnded;
    runtime_.executor(call_.lane).Schedule([this, limit] {
      End(absl::DeadlineExceededError(absl::StrCat("the upload was idle: nothing of it came for ",
                                                   absl::FormatDuration(limit))));
    });
  }

  absl::Status MakeSink() {
    if (sink_ != nullptr) return absl::OkStatus();
    auto made = make_(caller_);
    if (!made.ok()) return made.status();
    sink_ = *std::move(made);
    return absl::OkStatus();
  }

  void Turn(absl::Status status) {
    status.Update(MakeSink());
    if (status.ok()) {
      runtime_.CountStreamBytes(call_, /*sent=*/false, message_bytes_);
      status = sink_->OnMessage(message_);
    }
    runtime_.admission().ReturnBytes(std::exchange(message_bytes_, 0));
    if (!status.ok()) return End(status);
    DropMessage();
    {
      MutexLock lock(mutex_);
      state_ = State::kReading;
      heard_ = runtime_.clock().Boottime();
    }
    this->StartRead(&message_);
  }

  void LastTurn() {
    // The end of the stream and its break look alike here.
    if (caller_.gone()) return End(absl::CancelledError("the caller has gone"));
    absl::Status status = MakeSink();
    if (status.ok()) status = sink_->OnEnd(caller_.gone);
    End(status);
  }

  // A message that is only cleared keeps its memory for the next.
  void DropMessage() { Request().Swap(&message_); }

  void End(const absl::Status& status) {
    {
      MutexLock lock(mutex_);
      state_ = State::kEnded;
    }
    status_ = status;
    sink_ = nullptr;
    make_ = nullptr;
    Failpoint("rpc", call_.method, "before_answer");
    this->Finish(ToGrpcStatus(status));
  }

  RpcRuntime& runtime_;
  const CallInfo call_;
  const Caller caller_;
  const absl::Duration start_;  // Boottime.
  const std::shared_ptr<StreamWaker> waker_;

  // Owned by whoever has the turn.
  SinkFactory<Request> make_;
  std::unique_ptr<MessageSink<Request>> sink_;
  Request message_;
  int64_t message_bytes_ = 0;  // Taken from the admission.
  absl::Status status_;

  Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kReading;
  absl::Duration heard_ ABSL_GUARDED_BY(mutex_);  // Boottime: since when it may send.
};

}  // namespace graft
