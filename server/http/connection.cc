#include "server/http/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <chrono>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/http/answers.h"

namespace graft {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr absl::Duration kLingerLimit = absl::Seconds(2);
constexpr int kContinue = 100;
constexpr int kBadRequest = 400;
constexpr int kHeadTooLarge = 431;

// Host decides what may be asked, the others too: twice, somebody before us may read the other one.
constexpr absl::string_view kOnce[] = {"host", "origin", "content-type"};

std::string AddressOf(const tcp::endpoint& endpoint) {
  const asio::ip::address address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
  }
  return address.to_string();
}

std::string Lower(beast::string_view text) {
  return absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
}

}  // namespace

void Connections::Serve(tcp::socket socket) {
  auto connection = std::make_shared<Connection>(std::move(socket), *this);
  {
    MutexLock lock(mutex_);
    all_.emplace(connection.get(), connection);
  }
  connection->Start();
}

size_t Connections::size() const {
  MutexLock lock(mutex_);
  return all_.size();
}

void Connections::End() {
  std::vector<std::shared_ptr<Connection>> open;
  {
    MutexLock lock(mutex_);
    for (const auto& [raw, weak] : all_) {
      if (auto connection = weak.lock()) open.push_back(std::move(connection));
    }
  }
  for (const auto& connection : open) connection->Close();
  open.clear();
  MutexLock lock(mutex_);
  while (!all_.empty()) removed_.Wait(mutex_);
}

void Connections::Remove(Connection* connection) {
  MutexLock lock(mutex_);
  all_.erase(connection);
  removed_.NotifyAll();
}

Connection::Connection(tcp::socket socket, Connections& connections)
    : registration_{connections, this},
      connections_(connections),
      stream_(std::move(socket)),
      timer_(stream_.get_executor()) {
  beast::error_code error;
  request_.peer = AddressOf(stream_.socket().remote_endpoint(error));
  request_.server = AddressOf(stream_.socket().local_endpoint(error));
}

void Connection::OnStrand(std::function<void()> step) {
  asio::dispatch(stream_.get_executor(),
                 [self = shared_from_this(), step = std::move(step)] { step(); });
}

void Connection::Start() {
  OnStrand([this] { ReadHead(); });
}

void Connection::Close() {
  OnStrand([this] { Gone(); });
}

void Connection::ReadHead() {
  parser_.emplace();
  parser_->header_limit(kMaxHttpHeadBytes);
  // Who reads a body has a bound of his own.
  parser_->body_limit(std::numeric_limits<uint64_t>::max());
  stream_.expires_after(absl::ToChronoMilliseconds(kHttpIdleLimit));
  http::async_read_header(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](beast::error_code error, size_t) { self->OnHead(error); });
}

void Connection::OnHead(beast::error_code error) {
  request_.headers.clear();
  request_.content_length.reset();
  open_ = true;
  keep_alive_ = false;
  const bool no_http =
      error && error.category() == http::make_error_code(http::error::bad_method).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message;
  if (no_http || (!error && !TakeHead())) {
    const bool large = error == http::error::header_limit;
    return AnswerError(*this,
                       absl::InvalidArgumentError(large ? "the head of the request is too large"
                                                        : "this is no request of HTTP/1.1"),
                       large ? kHeadTooLarge : kBadRequest);
  }
  if (error) return Gone();
  stream_.expires_never();
  connections_.handler_(shared_from_this());
}

bool Connection::TakeHead() {
  const auto& head = parser_->get();
  request_.method = std::string(head.method_string());
  request_.target = std::string(head.target());
  for (const auto& field : head) {
    const std::string name = Lower(field.name_string());
    const bool added = request_.headers.try_emplace(name, field.value()).second;
    for (const absl::string_view once : kOnce) {
      if (!added && name == once) return false;
    }
  }
  request_.has_body = !parser_->is_done();
  if (const auto length = parser_->content_length()) {
    request_.content_length = static_cast<int64_t>(*length);
    if (*request_.content_length < 0) return false;
  }
  keep_alive_ = parser_->keep_alive();
  old_client_ = head.version() < 11;
  expects_continue_ = absl::EqualsIgnoreCase(request_.Header("expect"), "100-continue");
  return true;
}

void Connection::ReadSome(OnPiece on_piece) {
  OnStrand([this, on_piece = std::move(on_piece)]() mutable {
    if (gone_) return on_piece(absl::CancelledError("the client has gone"));
    if (parser_->is_done()) return on_piece(std::string());
    if (std::exchange(expects_continue_, false)) {
      Push(absl::StrCat("HTTP/1.1 ", kContinue, " Continue\r\n\r\n"), nullptr);
    }
    ReadPiece(std::move(on_piece));
  });
}

void Connection::ReadPiece(OnPiece on_piece) {
  piece_.resize(kBodyPieceBytes);
  auto& body = parser_->get().body();
  body.data = piece_.data();
  body.size = piece_.size();
  stream_.expires_after(absl::ToChronoMilliseconds(kHttpReadLimit));
  reading_ = true;
  http::async_read_some(stream_, buffer_, *parser_,
                        [self = shared_from_this(), on_piece = std::move(on_piece)](
                            beast::error_code error, size_t) mutable {
                          self->OnPieceRead(error, std::move(on_piece));
                        });
}

void Connection::OnPieceRead(beast::error_code error, OnPiece on_piece) {
  reading_ = false;
  if (!open_) {
    // While the answer is written, its end sees to that.
    if (!writing_ && !gone_) Linger();
    return;
  }
  if (error == http::error::need_buffer) error = {};
  if (error) {
    Gone();
    return on_piece(absl::CancelledError("the body broke off"));
  }
  const size_t size = kBodyPieceBytes - parser_->get().body().size;
  if (size == 0 && !parser_->is_done()) return ReadPiece(std::move(on_piece));
  if (parser_->is_done()) {
    std::string piece = piece_.substr(0, size);
    piece_ = std::string();
    if (on_gone_) WatchForEnd();
    return on_piece(std::move(piece));
  }
  on_piece(piece_.substr(0, size));
}

void Connection::WhenGone(std::function<void()> on_gone) {
  OnStrand([this, on_gone = std::move(on_gone)]() mutable {
    if (!open_) return;
    if (gone_) return on_gone();
    on_gone_ = std::move(on_gone);
    if (parser_->is_done()) WatchForEnd();
  });
}

void Connection::WatchForEnd() {
  if (std::exchange(watching_, true)) return;
  stream_.socket().async_wait(
      tcp::socket::wait_read, [self = shared_from_this()](beast::error_code error) {
        self->watching_ = false;
        if (error || !self->open_) return;
        char byte;
        const ssize_t size =
            ::recv(self->stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        // Something: the next request, which waits for the end of this one.
        if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) self->Gone();
      });
}

void Connection::Gone() {
  if (std::exchange(gone_, true)) return;
  timer_.cancel();
  stream_.close();
  if (!writing_) DropOutputs();
  if (on_gone_) std::exchange(on_gone_, nullptr)();
}

void Connection::DropOutputs() {
  std::deque<Output> dropped;
  dropped.swap(outputs_);
  for (Output& output : dropped) {
    if (output.written) output.written();
  }
}

void Connection::Push(std::string bytes, std::function<void()> written) {
  if (gone_) {
    if (written) asio::post(stream_.get_executor(), std::move(written));
    return;
  }
  outputs_.push_back({std::move(bytes), std::move(written)});
  if (!writing_) WriteNext();
}

void Connection::WriteNext() {
  writing_ = true;
  stream_.expires_after(absl::ToChronoMilliseconds(kHttpWriteLimit));
  asio::async_write(stream_, asio::buffer(outputs_.front().bytes),
                    [self = shared_from_this()](beast::error_code error, size_t) {
                      self->writing_ = false;
                      if (error || self->gone_) {
                        self->Gone();
                        return self->DropOutputs();
                      }
                      const auto written = std::move(self->outputs_.front().written);
                      self->outputs_.pop_front();
                      if (!self->outputs_.empty()) self->WriteNext();
                      if (written) written();
                    });
}

std::string Connection::HeadText(const HttpHead& head, std::optional<int64_t> length) {
  const auto reason = http::obsolete_reason(http::int_to_status(head.status));
  std::string text = absl::StrCat("HTTP/1.1 ", head.status, " ",
                                  absl::string_view(reason.data(), reason.size()), "\r\n");
  const auto add = [&text](absl::string_view name, absl::string_view value) {
    absl::StrAppend(&text, name, ": ", value, "\r\n");
  };
  if (!head.content_type.empty()) add("Content-Type", head.content_type);
  if (length) add("Content-Length", absl::StrCat(*length));
  if (chunked_) add("Transfer-Encoding", "chunked");
  const bool kept = std::any_of(head.headers.begin(), head.headers.end(),
                                [](const auto& each) { return each.first == "Cache-Control"; });
  if (!kept) add("Cache-Control", "no-store");
  add("X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : head.headers) add(name, value);
  add("Connection", keep_alive_ ? "keep-alive" : "close");
  return absl::StrCat(text, "\r\n");
}

void Connection::Answer(HttpHead head, std::string body) {
  OnStrand([this, head = std::move(head), body = std::move(body)]() mutable {
    if (!std::exchange(open_, false)) return;
    on_gone_ = nullptr;
    timer_.cancel();
    chunked_ = false;
    keep_alive_ = keep_alive_ && parser_->is_done();
    std::string text = HeadText(head, static_cast<int64_t>(body.size()));
    if (request_.method != "HEAD") text += body;
    Push(std::move(text), [this] { Over(keep_alive_); });
  });
}

void Connection::Begin(HttpHead head, std::optional<int64_t> length) {
  OnStrand([this, head = std::move(head), length] {
    chunked_ = !length && !old_client_;
    keep_alive_ = keep_alive_ && parser_->is_done() && (length || chunked_);
    Push(HeadText(head, length), nullptr);
  });
}

void Connection::Write(std::string bytes, std::function<void()> written) {
  OnStrand([this, bytes = std::move(bytes), written = std::move(written)]() mutable {
    if (request_.method == "HEAD" || bytes.empty()) {
      if (written) written();
      return;
    }
    if (chunked_) {
      bytes = absl::StrCat(absl::Hex(bytes.size()), "\r\n", bytes, "\r\n");
    }
    Push(std::move(bytes), std::move(written));
  });
}

void Connection::End(bool complete) {
  OnStrand([this, complete] {
    if (!std::exchange(open_, false)) return;
    on_gone_ = nullptr;
    timer_.cancel();
    const bool last_chunk = complete && chunked_ && request_.method != "HEAD";
    Push(last_chunk ? "0\r\n\r\n" : "", [this, complete] {
      // What is cut short must not look like an end.
      complete ? Over(keep_alive_) : Gone();
    });
  });
}

void Connection::After(absl::Duration delay, std::function<void()> then) {
  OnStrand([this, delay, then = std::move(then)]() mutable {
    if (!open_ || gone_) return;
    timer_.expires_after(absl::ToChronoMilliseconds(delay));
    timer_.async_wait([self = shared_from_this(), then = std::move(then)](beast::error_code error) {
      if (!error && self->open_) then();
    });
  });
}

void Connection::Over(bool keep) {
  if (gone_) return;
  if (keep) return ReadHead();
  beast::error_code error;
  stream_.socket().shutdown(tcp::socket::shutdown_send, error);
  if (!reading_) Linger();
}

void Connection::Linger() {
  piece_.resize(kBodyPieceBytes);
  stream_.expires_after(absl::ToChronoMilliseconds(kLingerLimit));
  ReadOn();
}

void Connection::ReadOn() {
  stream_.async_read_some(asio::buffer(piece_),
                          [self = shared_from_this()](beast::error_code error, size_t) {
                            error ? self->Gone() : self->ReadOn();
                          });
}

}  // namespace graft
