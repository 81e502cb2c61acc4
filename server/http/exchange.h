#pragma once

// One HTTP request and its answer, without sockets: connection.h has those.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace graft {

struct HttpRequest {
  std::string method;                          // "GET"
  std::string target;                          // Path and query, as they came.
  std::map<std::string, std::string> headers;  // By their names in lower case.
  std::optional<int64_t> content_length;       // None: chunked, or no body.
  bool has_body = false;
  std::string peer;    // The client's address, without the port.
  std::string server;  // The address that it came to, without the port.

  // Empty: there is none.
  std::string Header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

struct HttpHead {
  int status = 200;
  std::string content_type;
  std::vector<std::pair<std::string, std::string>> headers;  // Beside those that each answer has.
};

// Answered once: by Answer, or by Begin, Write as often as wanted, and End; nothing may be called
// afterwards. Callbacks run one at a time. Thread-safe.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;

  // The next piece of the body, at most kBodyPieceBytes; empty at its end. An error: it broke off.
  // One at a time.
  using OnPiece = std::function<void(absl::StatusOr<std::string>)>;
  virtual void ReadSome(OnPiece on_piece) = 0;

  virtual void Answer(HttpHead head, std::string body) = 0;

  // `length` of the body; none: it is not known, and ends with End(true). Of HEAD the body is left
  // out.
  virtual void Begin(HttpHead head, std::optional<int64_t> length) = 0;
  // `written`: the client has taken it, or has gone. One at a time.
  virtual void Write(std::string bytes, std::function<void()> written) = 0;
  // Not complete: the client sees that something is missing.
  virtual void End(bool complete) = 0;

  // The client has gone, and what it waited for is wanted by nobody. Called at most once, never
  // after the answer; also at once, where it has gone already. It is not noticed before all of the
  // body has been read.
  virtual void WhenGone(std::function<void()> on_gone) = 0;
  // Not called when the exchange is over before. One at a time.
  virtual void After(absl::Duration delay, std::function<void()> then) = 0;
};

inline constexpr size_t kBodyPieceBytes = 128 * 1024;

}  // namespace graft
