#include "server/http/gateway.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "graft/v1/job.pb.h"
#include "server/http/answers.h"
#include "server/http/calls.h"
#include "server/http/guard.h"
#include "server/http/transcoding.h"

namespace graft {
namespace {

constexpr int kMethodNotAllowed = 405;
constexpr int kTooLarge = 413;

using OnBody = std::function<void(std::string)>;

void AnswerTooLarge(Exchange& exchange) {
  AnswerError(exchange,
              absl::InvalidArgumentError(
                  absl::StrCat("the body has more than ", kMaxHttpMessageBytes, " bytes")),
              kTooLarge);
}

// All of the body; where it is too large, or breaks off, that is answered.
void ReadWhole(const std::shared_ptr<Exchange>& exchange, std::string begun, OnBody on_body) {
  exchange->ReadSome([exchange, begun = std::move(begun), on_body = std::move(on_body)](
                         const absl::StatusOr<std::string>& piece) mutable {
    if (!piece.ok()) return AnswerError(*exchange, piece.status());
    if (piece->empty()) return on_body(std::move(begun));
    begun += *piece;
    if (begun.size() > kMaxHttpMessageBytes) return AnswerTooLarge(*exchange);
    ReadWhole(exchange, std::move(begun), std::move(on_body));
  });
}

int StatusOfRefusedRoute(absl::StatusCode code) {
  return code == absl::StatusCode::kUnimplemented ? kMethodNotAllowed : HttpStatusOf(code);
}

absl::Status ToStatus(const HttpRefusal& refusal) {
  if (refusal.status == 0) return absl::OkStatus();
  return refusal.status == 403 ? absl::PermissionDeniedError(refusal.why)
                               : absl::InvalidArgumentError(refusal.why);
}

}  // namespace

void Gateway::Handle(std::shared_ptr<Exchange> exchange) {
  const HttpRequest& request = exchange->request();
  const absl::StatusOr<Target> target = ParseTarget(request.target);
  if (!target.ok()) return AnswerError(*exchange, target.status());
  const absl::StatusOr<RouteTable::Match> match = routes_.Find(request.method, *target);
  if (!match.ok()) {
    return AnswerError(*exchange, match.status(), StatusOfRefusedRoute(match.status().code()));
  }
  const bool upload = match->route->method->client_streaming();
  if (match->route->verb != "GET") {
    const std::vector<absl::string_view> types =
        upload ? UploadTypes(*match->route) : std::vector<absl::string_view>{kJsonType};
    const HttpRefusal refusal = CheckChange(request, types);
    if (refusal.status != 0) return AnswerError(*exchange, ToStatus(refusal), refusal.status);
  }
  upload ? HandleUpload(*match, *target, std::move(exchange))
         : HandleMessage(*match, *target, exchange);
}

void Gateway::HandleUpload(const RouteTable::Match& match, const Target& target,
                           std::shared_ptr<Exchange> exchange) {
  const auto first = MakeRequest(match, target.query, "");
  if (!first.ok()) return AnswerError(*exchange, first.status());
  CallUpload(stub_, *match.route, **first, MakeUploadMessages(*match.route), std::move(exchange));
}

void Gateway::HandleMessage(const RouteTable::Match& match, const Target& target,
                            const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& request = exchange->request();
  if (!request.has_body) return Call(match, target, "", exchange);
  const int64_t bytes = request.content_length.value_or(kMaxHttpMessageBytes);
  if (bytes > kMaxHttpMessageBytes) return AnswerTooLarge(*exchange);
  if (const absl::Status admitted = admission_.TakeBytes(bytes); !admitted.ok()) {
    return AnswerError(*exchange, admitted);
  }
  // Returned when nothing of it is held any more.
  const std::shared_ptr<void> taken(nullptr,
                                    [this, bytes](void*) { admission_.ReturnBytes(bytes); });
  ReadWhole(exchange, "", [this, match, target, exchange, taken](const std::string& body) {
    Call(match, target, body, exchange);
  });
}

void Gateway::Call(const RouteTable::Match& match, const Target& target, absl::string_view body,
                   const std::shared_ptr<Exchange>& exchange) {
  const Route& route = *match.route;
  const auto message = MakeRequest(match, target.query, body);
  if (!message.ok()) return AnswerError(*exchange, message.status());
  if (!route.method->server_streaming()) return CallUnary(stub_, route, **message, exchange);
  // Of files it has the size; of what goes on it would have nothing.
  if (exchange->request().method == "HEAD" &&
      route.method->output_type() != v1::FileChunk::descriptor()) {
    return AnswerError(*exchange, absl::UnimplementedError("HEAD does nothing here; GET would"),
                       kMethodNotAllowed);
  }
  if (const absl::Status applied = ApplyHeaders(exchange->request(), route, message->get());
      !applied.ok()) {
    return AnswerError(*exchange, applied);
  }
  CallServerStream(stub_, route, **message, *exchange, MakeStreamAnswer(exchange, route));
}

}  // namespace graft
