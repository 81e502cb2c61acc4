#include "server/http/calls.h"

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "common/rpc/status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "server/http/answers.h"
#include "server/http/byte_buffers.h"
#include "server/http/transcoding.h"
#include "server/rpc/call.h"

namespace graft {
namespace {

using google::protobuf::Message;
using BidiReactor = grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

std::string MethodPath(const Route& route) {
  return absl::StrCat("/", route.method->service()->full_name(), "/", route.method->name());
}

// Cancelled when the client goes.
std::shared_ptr<grpc::ClientContext> ContextOf(Exchange& exchange) {
  auto context = std::make_shared<grpc::ClientContext>();
  context->AddMetadata(kHttpPeerKey, exchange.request().peer);
  return context;
}

void CancelWhenGone(Exchange& exchange, const std::shared_ptr<grpc::ClientContext>& context) {
  exchange.WhenGone([context] { context->TryCancel(); });
}

void AnswerBuffer(Exchange& exchange, const Route& route, const grpc::ByteBuffer& buffer) {
  const std::unique_ptr<Message> message = NewMessage(*route.method->output_type());
  if (FromByteBuffer(buffer, message.get())) return AnswerMessage(exchange, *message);
  AnswerError(exchange, absl::InternalError("the service's answer is none"));
}

struct UnaryCall {
  std::shared_ptr<grpc::ClientContext> context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
};

// One read, or one write to the client, is under way at any time; the hold lets the call wait for
// the latter.
class ServerStreamCall : public BidiReactor {
 public:
  ServerStreamCall(const Route& route, const Message& request,
                   std::shared_ptr<grpc::ClientContext> context,
                   std::shared_ptr<StreamAnswer> answer)
      : route_(route),
        request_(ToByteBuffer(request)),
        context_(std::move(context)),
        answer_(std::move(answer)) {}

  void Begin(grpc::GenericStub& stub) {
    stub.PrepareBidiStreamingCall(context_.get(), MethodPath(route_), {}, this);
    AddHold();
    StartWriteLast(&request_, {});
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return RemoveHold();
    const std::unique_ptr<Message> message = NewMessage(*route_.method->output_type());
    FromByteBuffer(response_, message.get());
    answer_->Next(*message, [this](bool more) {
      if (more) return StartRead(&response_);
      answered_ = true;
      context_->TryCancel();
      RemoveHold();
    });
  }

  void OnDone(const grpc::Status& status) override {
    if (!answered_) answer_->End(FromGrpcStatus(status));
    delete this;
  }

 private:
  const Route& route_;
  const grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  const std::shared_ptr<grpc::ClientContext> context_;
  const std::shared_ptr<StreamAnswer> answer_;
  bool answered_ = false;  // The rest is not wanted.
};

class UploadCall : public BidiReactor, public std::enable_shared_from_this<UploadCall> {
 public:
  UploadCall(const Route& route, const Message& first, std::unique_ptr<UploadMessages> body,
             std::shared_ptr<Exchange> exchange)
      : route_(route),
        context_(ContextOf(*exchange)),
        exchange_(std::move(exchange)),
        body_(std::move(body)),
        writing_(ToByteBuffer(first)) {}

  void Begin(grpc::GenericStub& stub) {
    self_ = shared_from_this();
    stub.PrepareBidiStreamingCall(context_.get(), MethodPath(route_), {}, this);
    AddHold();
    StartWrite(&writing_);
    StartRead(&response_);
    StartCall();
    CancelWhenGone(*exchange_, context_);
  }

  void OnWriteDone(bool ok) override { ok ? GoOn() : Release(); }

  // The answer, or the end without one: what is left of the body is not wanted.
  void OnReadDone(bool ok) override {
    responded_ = ok;
    Release();
  }

  void OnDone(const grpc::Status& status) override {
    absl::Status broken;
    {
      MutexLock lock(mutex_);
      broken = broken_;
    }
    if (!broken.ok()) {
      AnswerError(*exchange_, broken);
    } else if (status.ok() && responded_) {
      AnswerBuffer(*exchange_, route_, response_);
    } else {
      AnswerError(*exchange_, status.ok() ? absl::InternalError("the service has not answered")
                                          : FromGrpcStatus(status));
    }
    const auto self = std::exchange(self_, nullptr);
  }

 private:
  // Writes what there is, or reads on.
  void GoOn() {
    {
      MutexLock lock(mutex_);
      if (!held_) return;
      if (!messages_.empty()) {
        writing_ = ToByteBuffer(*messages_.front());
        messages_.pop_front();
        return StartWrite(&writing_);
      }
    }
    // Without the lock: what has come already is taken at once.
    exchange_->ReadSome([self = shared_from_this()](const absl::StatusOr<std::string>& piece) {
      self->Take(piece);
    });
  }

  void Take(const absl::StatusOr<std::string>& piece) {
    absl::Status status = piece.status();
    bool ended = false;
    if (status.ok()) {
      ended = piece->empty();
      status = ended ? body_->Finish() : body_->Add(*piece, &messages_);
    }
    if (!status.ok()) return Break(std::move(status));
    if (!ended) return GoOn();
    {
      MutexLock lock(mutex_);
      if (!held_) return;
      StartWritesDone();
    }
    Release();
  }

  void Break(absl::Status status) {
    {
      MutexLock lock(mutex_);
      if (held_) broken_ = std::move(status);
    }
    context_->TryCancel();
    Release();
  }

  // No more is read of the body, nor written.
  void Release() {
    MutexLock lock(mutex_);
    if (std::exchange(held_, false)) RemoveHold();
  }

  const Route& route_;
  const std::shared_ptr<grpc::ClientContext> context_;
  const std::shared_ptr<Exchange> exchange_;
  const std::unique_ptr<UploadMessages> body_;
  std::shared_ptr<UploadCall> self_;  // Until the call is over.
  std::deque<std::unique_ptr<Message>> messages_;
  grpc::ByteBuffer writing_;
  grpc::ByteBuffer response_;
  bool responded_ = false;
  Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = true;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);  // What the body was.
};

}  // namespace

void CallUnary(grpc::GenericStub& stub, const Route& route, const Message& request,
               std::shared_ptr<Exchange> exchange) {
  auto call = std::make_shared<UnaryCall>();
  call->context = ContextOf(*exchange);
  call->request = ToByteBuffer(request);
  CancelWhenGone(*exchange, call->context);
  stub.UnaryCall(call->context.get(), MethodPath(route), {}, &call->request, &call->response,
                 [call, &route, exchange = std::move(exchange)](const grpc::Status& status) {
                   if (!status.ok()) return AnswerError(*exchange, FromGrpcStatus(status));
                   AnswerBuffer(*exchange, route, call->response);
                 });
}

void CallServerStream(grpc::GenericStub& stub, const Route& route, const Message& request,
                      Exchange& exchange, std::shared_ptr<StreamAnswer> answer) {
  auto context = ContextOf(exchange);
  auto* call = new ServerStreamCall(route, request, context, std::move(answer));
  call->Begin(stub);
  CancelWhenGone(exchange, context);
}

void CallUpload(grpc::GenericStub& stub, const Route& route, const Message& first,
                std::unique_ptr<UploadMessages> body, std::shared_ptr<Exchange> exchange) {
  std::make_shared<UploadCall>(route, first, std::move(body), std::move(exchange))->Begin(stub);
}

}  // namespace graft
