#pragma once

// How a stream of messages becomes an answer.

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "server/http/byte_range.h"
#include "server/http/exchange.h"
#include "server/http/routes.h"

namespace graft {

// Without anything to send, event streams have a comment so often: proxies close what is silent.
inline constexpr absl::Duration kEventHeartbeat = absl::Seconds(15);

// Used by one thread at a time.
class StreamAnswer {
 public:
  virtual ~StreamAnswer() = default;
  // The next message. `taken(true)`: another one may come. `taken(false)`: no more is wanted, and
  // the answer is over.
  virtual void Next(const google::protobuf::Message& message, std::function<void(bool)> taken) = 0;
  // The stream has ended with this. Not after taken(false).
  virtual void End(const absl::Status& status) = 0;
};

// What the client's headers say of a stream goes into its request: Last-Event-ID of an event
// stream, the beginning of a Range of a file. INVALID_ARGUMENT: no number.
absl::Status ApplyHeaders(const HttpRequest& http, const Route& route,
                          google::protobuf::Message* request);

//   FileChunk of a file that can be read from an offset: its bytes; others, a tar
//   JobLogChunk: its bytes, unless the client accepts event streams
//   all others: an event stream, of messages in protobuf's JSON. `id` of one that has a number is
//     what Last-Event-ID goes on after; it ends by an event `end`, or `error` with the error
std::shared_ptr<StreamAnswer> MakeStreamAnswer(std::shared_ptr<Exchange> exchange,
                                               const Route& route);

}  // namespace graft
