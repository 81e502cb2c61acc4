#include "server/http/front.h"

#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "common/errors/status_details.h"
#include "server/http/answers.h"
#include "server/http/guard.h"
#include "server/page/page_files.h"

namespace graft {
namespace {

// Scrapes that wait for the one that is made.
constexpr size_t kMaxWaitingScrapes = 64;
constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";

// Its bytes, unless the browser says that it has them.
void AnswerPageFile(Exchange& exchange, const PageFile& file) {
  HttpHead head{200, std::string(MediaTypeOf(file)), PageHeaders()};
  head.headers.emplace_back("ETag", std::string(file.etag));
  if (exchange.request().Header("if-none-match") == file.etag) {
    head.status = 304;
    return exchange.Answer(std::move(head), "");
  }
  exchange.Answer(std::move(head), std::string(file.bytes));
}

}  // namespace

HttpFront::HttpFront(const Options& options, MetricRegistry& registry, RpcServer& rpc)
    : options_(options),
      registry_(registry),
      gateway_(rpc.InProcessChannel(), rpc.context().runtime.admission()),
      scrapes_("scrapes", 1, kMaxWaitingScrapes) {}

absl::StatusOr<std::unique_ptr<HttpFront>> HttpFront::Start(const Options& options,
                                                            MetricRegistry& registry,
                                                            RpcServer& rpc) {
  std::unique_ptr<HttpFront> front(new HttpFront(options, registry, rpc));
  ASSIGN_OR_RETURN(front->server_,
                   HttpServer::Start({options.address, options.max_descriptors},
                                     [raw = front.get()](std::shared_ptr<Exchange> exchange) {
                                       raw->Handle(std::move(exchange));
                                     }));
  return front;
}

void HttpFront::Handle(std::shared_ptr<Exchange> exchange) {
  const HttpRequest& request = exchange->request();
  const std::string path = request.target.substr(0, request.target.find('?'));
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (reads && path == "/metrics") return AnswerMetrics(exchange);
  if (reads && path == "/healthz") return exchange->Answer({200, "text/plain", {}}, "ok\n");
  if (!options_.api) {
    return AnswerError(
        *exchange,
        absl::NotFoundError("only /metrics and /healthz are served here: graft-server --http-api "
                            "serves the API at an address that is not of this machine alone"));
  }
  const HttpRefusal refusal = CheckHost(request, options_.hosts);
  if (refusal.status != 0) {
    return AnswerError(*exchange, absl::InvalidArgumentError(refusal.why), refusal.status);
  }
  if (const PageFile* file = reads ? FindPageFile(path) : nullptr) {
    return AnswerPageFile(*exchange, *file);
  }
  gateway_.Handle(std::move(exchange));
}

// Gauges are read from the store: not on the threads that serve all connections.
void HttpFront::AnswerMetrics(const std::shared_ptr<Exchange>& exchange) {
  const bool accepted = scrapes_.TrySchedule([this, exchange] {
    exchange->Answer({200, kMetricsType, {}}, registry_.Text());
  });
  if (!accepted) {
    AnswerError(*exchange, Overloaded("too many scrapes wait for one another", absl::Seconds(1)));
  }
}

}  // namespace graft
