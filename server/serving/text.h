#pragma once

// What the broker, the queue and the telemetry of texts share.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "graft/v1/adapter.pb.h"
#include "graft/worker/v1/worker.pb.h"
#include "server/streams/message_stream.h"
#include "server/workers/worker_hub.h"

namespace graft {

// Messages of one text that wait for its reader before they are put together: a reader who is slow
// gets more tokens a message.
inline constexpr size_t kMaxWaitingMessages = 16;
// Of text and tokens in what was put together.
inline constexpr size_t kMaxWaitingTextBytes = 1 << 20;

class TextCall;
struct TextBatch;

// A sequence of a request. It waits in the queue, is made in a row of a batch, or has ended. All of
// it, and of the two below, is guarded by the broker's mutex but for what is const.
struct Text {
  const std::string& base() const { return command->base_model().sha256(); }
  const std::string& adapter() const { return command->request().adapter(); }
  // Only a worker with batches_texts can make it: others do not know what it asks for.
  bool needs_batching() const;
  worker::v1::Command CommandTo(const TextBatch& batch) const;

  TextCall* const call;
  const std::shared_ptr<const worker::v1::Command::Generate> command;  // But for where it is made.
  const int request;                                                   // Its index in the call.
  const int sequence;
  const absl::Duration submitted;  // Boottime.

  std::shared_ptr<TextBatch> batch = nullptr;  // Null unless it is made.
  int row = 0;
  int moves = 0;       // To another worker.
  bool begun = false;  // A message of it was reported.
  bool ended = false;

  int64_t tokens = 0;
  absl::Duration first_token = absl::ZeroDuration();  // Boottime.
  absl::Duration last_token = absl::ZeroDuration();

  // Of the messages that wait for the reader.
  size_t waiting = 0;
  v1::GenerateResponse* last = nullptr;
};

// What one caller waits for: texts, and what he has not read of them.
class TextCall {
 public:
  // A text for each sequence of each request.
  TextCall(std::vector<worker::v1::Command::Generate> commands, std::shared_ptr<StreamWaker> waker,
           absl::Duration now);
  TextCall(const TextCall&) = delete;

  std::deque<Text>& texts() { return texts_; }
  const std::shared_ptr<StreamWaker>& waker() const { return waker_; }

  // False: its reader is too slow for the text.
  bool Push(Text& text, v1::GenerateResponse response);
  // Once for each text.
  void End(Text& text, const absl::Status& status);
  SourceState Next(v1::GenerateBatchResponse* response);

 private:
  struct Message {
    Text* text;
    v1::GenerateBatchResponse response;
  };

  const std::shared_ptr<StreamWaker> waker_;
  std::deque<Text> texts_;
  size_t running_;  // Texts that have not ended.
  std::deque<Message> messages_;
};

// What one report of a worker's is about: texts on one base model, each in a row of its own. Rows
// that end leave it, others may join meanwhile.
struct TextBatch {
  const std::string id;
  const std::string base;
  const WorkerHub::TextPlace place;
  const absl::Duration joined_until;  // Boottime.

  int next_row = 0;
  std::map<int, Text*> rows = {};  // Those that are under way.
  bool claimed = false;            // The worker's report has begun.
  bool begun = false;              // A row of it has.
  bool turned_down = false;        // The worker has no place for a row of it.
};

}  // namespace graft
