#pragma once

#include <sys/types.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/base/mutex.h"
#include "server/http/exchange.h"

namespace graft {

// What connections may take, beside the bounds of what they ask for (admission.h).
inline constexpr size_t kMaxHttpConnections = 4096;
inline constexpr uint32_t kMaxHttpHeadBytes = 16 * 1024;
// A connection without a request, or whose request's head isn't there by then, is closed.
inline constexpr absl::Duration kHttpIdleLimit = absl::Seconds(60);
// A client that takes nothing of an answer for so long has gone.
inline constexpr absl::Duration kHttpWriteLimit = absl::Seconds(60);
// One that sends nothing of a body; more than an upload may be idle, whose end says why.
inline constexpr absl::Duration kHttpReadLimit = absl::Seconds(75);

class Connection;

// The connections that there are. Thread-safe.
class Connections {
 public:
  using Handler = std::function<void(std::shared_ptr<Exchange>)>;
  explicit Connections(Handler handler) : handler_(std::move(handler)) {}

  void Serve(boost::asio::ip::tcp::socket socket);
  size_t size() const;
  // Ends all, and waits until nobody has one any more. No other is served meanwhile.
  void End();

 private:
  friend class Connection;
  void Remove(Connection* connection);

  const Handler handler_;
  mutable Mutex mutex_;
  CondVar removed_;
  std::map<Connection*, std::weak_ptr<Connection>> all_ ABSL_GUARDED_BY(mutex_);
};

// Reads requests off a socket, one after the other, and writes their answers. All of it happens on
// the socket's strand.
class Connection : public Exchange, public std::enable_shared_from_this<Connection> {
 public:
  Connection(boost::asio::ip::tcp::socket socket, Connections& connections);

  void Start();
  void Close();

  const HttpRequest& request() const override { return request_; }
  void ReadSome(OnPiece on_piece) override;
  void Answer(HttpHead head, std::string body) override;
  void Begin(HttpHead head, std::optional<int64_t> length) override;
  void Write(std::string bytes, std::function<void()> written) override;
  void End(bool complete) override;
  void WhenGone(std::function<void()> on_gone) override;
  void After(absl::Duration delay, std::function<void()> then) override;

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;
  // Outlives the other members: who waits for the last connection then ends what those use.
  struct Registration {
    Connections& connections;
    Connection* connection;
    ~Registration() { connections.Remove(connection); }
  };
  struct Output {
    std::string bytes;
    std::function<void()> written;
  };

  // Runs `step` on the strand.
  void OnStrand(std::function<void()> step);
  void ReadHead();
  void OnHead(boost::beast::error_code error);
  // False: a header stands there twice and may only once.
  bool TakeHead();
  void ReadPiece(OnPiece on_piece);
  void OnPieceRead(boost::beast::error_code error, OnPiece on_piece);
  // Looks whether the client goes while it waits for an answer.
  void WatchForEnd();
  void Gone();
  std::string HeadText(const HttpHead& head, std::optional<int64_t> length);
  void Push(std::string bytes, std::function<void()> written);
  void WriteNext();
  void DropOutputs();
  void Over(bool keep);
  // Lets the client read what it was told before it sends the rest of what nobody wants.
  void Linger();
  void ReadOn();

  const Registration registration_;
  Connections& connections_;
  boost::beast::tcp_stream stream_;
  boost::asio::steady_timer timer_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::string piece_;
  std::deque<Output> outputs_;
  bool reading_ = false;
  bool writing_ = false;
  bool watching_ = false;
  bool gone_ = false;

  // Of the present exchange.
  HttpRequest request_;
  bool open_ = false;  // It is not over.
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool old_client_ = false;  // HTTP/1.0
  bool expects_continue_ = false;
  std::function<void()> on_gone_;
};

}  // namespace graft
