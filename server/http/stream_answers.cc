#include "server/http/stream_answers.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/mutex.h"
#include "common/errors/status_details.h"
#include "graft/v1/job.pb.h"
#include "server/http/answers.h"
#include "server/http/tar.h"

namespace graft {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr char kEventStream[] = "text/event-stream";
constexpr char kFileType[] = "application/octet-stream";
constexpr int kPartial = 206;
constexpr int kRangeNotSatisfiable = 416;

bool IsFileFrom(const Route& route) {
  return route.method->output_type() == v1::FileChunk::descriptor() &&
         route.method->input_type()->FindFieldByName("offset_bytes") != nullptr;
}

bool AsksForEvents(const HttpRequest& request) {
  return absl::StrContains(request.Header("accept"), kEventStream);
}

// A validator that the file has none of: the whole of it is asked for unless it is the same.
std::optional<ByteRange> RangeOf(const HttpRequest& request) {
  if (!request.Header("if-range").empty()) return std::nullopt;
  return ParseByteRange(request.Header("range"));
}

// The number by which a stream is continued behind `message`; nothing where it has none.
std::optional<int64_t> EventId(const Message& message) {
  if (message.GetDescriptor() == v1::JobLogChunk::descriptor()) {
    const auto& chunk = dynamic_cast<const v1::JobLogChunk&>(message);
    return chunk.offset_bytes() + static_cast<int64_t>(chunk.data().size());
  }
  const FieldDescriptor* event = message.GetDescriptor()->FindFieldByName("event");
  if (event == nullptr || !message.GetReflection()->HasField(message, event)) return std::nullopt;
  const Message& numbered = message.GetReflection()->GetMessage(message, event);
  const FieldDescriptor* sequence = numbered.GetDescriptor()->FindFieldByName("sequence");
  return numbered.GetReflection()->GetInt64(numbered, sequence);
}

// The field of a request that says from where a stream of such messages goes on.
const FieldDescriptor* ResumeField(const Message& request) {
  const FieldDescriptor* after = request.GetDescriptor()->FindFieldByName("after_sequence");
  return after != nullptr ? after : request.GetDescriptor()->FindFieldByName("offset_bytes");
}

class Events : public StreamAnswer, public std::enable_shared_from_this<Events> {
 public:
  explicit Events(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}

  void KeepAlive() {
    exchange_->After(kEventHeartbeat, [self = weak_from_this()] {
      const auto events = self.lock();
      if (events == nullptr) return;
      events->Begin();
      events->exchange_->Write(":\n\n", nullptr);
      events->KeepAlive();
    });
  }

  void Next(const Message& message, std::function<void(bool)> taken) override {
    Begin();
    const std::optional<int64_t> id = EventId(message);
    exchange_->Write(
        absl::StrCat(id ? absl::StrCat("id: ", *id, "\n") : "", "data: ", ToJson(message), "\n\n"),
        [taken = std::move(taken)] { taken(true); });
  }

  void End(const absl::Status& status) override {
    bool begun = false;
    {
      MutexLock lock(mutex_);
      begun = begun_;
    }
    if (!status.ok() && !begun) return AnswerError(*exchange_, status);
    Begin();
    exchange_->Write(status.ok()
                         ? "event: end\ndata: {}\n\n"
                         : absl::StrCat("event: error\ndata: ",
                                        ErrorJson(status, HttpStatusOf(status.code())), "\n\n"),
                     nullptr);
    exchange_->End(true);
  }

 private:
  void Begin() {
    MutexLock lock(mutex_);
    if (std::exchange(begun_, true)) return;
    // Proxies that gather answers would keep the events.
    exchange_->Begin({200, kEventStream, {{"X-Accel-Buffering", "no"}}}, std::nullopt);
  }

  const std::shared_ptr<Exchange> exchange_;
  Mutex mutex_;
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;
};

class LogText : public StreamAnswer {
 public:
  explicit LogText(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}

  void Next(const Message& message, std::function<void(bool)> taken) override {
    Begin();
    exchange_->Write(dynamic_cast<const v1::JobLogChunk&>(message).data(),
                     [taken = std::move(taken)] { taken(true); });
  }
  void End(const absl::Status& status) override {
    if (!status.ok() && !begun_) return AnswerError(*exchange_, status);
    Begin();
    exchange_->End(status.ok());
  }

 private:
  void Begin() {
    if (std::exchange(begun_, true)) return;
    exchange_->Begin({200, "text/plain; charset=utf-8", {}}, std::nullopt);
  }

  const std::shared_ptr<Exchange> exchange_;
  bool begun_ = false;
};

// "attachment": never a page of this server, whatever a file holds.
std::pair<std::string, std::string> AsAttachment(absl::string_view path) {
  std::string name(path.substr(path.rfind('/') + 1));
  std::replace_if(
      name.begin(), name.end(),
      [](unsigned char c) { return c < ' ' || c > '~' || c == '"' || c == '\\'; }, '_');
  return {"Content-Disposition", absl::StrCat("attachment; filename=\"", name, "\"")};
}

class File : public StreamAnswer {
 public:
  explicit File(std::shared_ptr<Exchange> exchange)
      : exchange_(std::move(exchange)), range_(RangeOf(exchange_->request())) {}

  void Next(const Message& message, std::function<void(bool)> taken) override {
    const auto& chunk = dynamic_cast<const v1::FileChunk&>(message);
    if (!std::exchange(begun_, true) && !Begin(chunk)) return taken(false);
    std::string data = chunk.data();
    if (static_cast<int64_t>(data.size()) > left_) data.resize(left_);
    left_ -= static_cast<int64_t>(data.size());
    const bool more = left_ > 0 && exchange_->request().method != "HEAD";
    exchange_->Write(std::move(data), [this, more, taken = std::move(taken)] {
      if (!more) exchange_->End(true);
      taken(more);
    });
  }

  void End(const absl::Status& status) override {
    if (begun_) return exchange_->End(false);
    const bool beyond = status.code() == absl::StatusCode::kOutOfRange && range_;
    AnswerError(*exchange_, status.ok() ? absl::InternalError("the file did not come") : status,
                beyond ? kRangeNotSatisfiable : 0);
  }

 private:
  // False: it is answered by an error.
  bool Begin(const v1::FileChunk& chunk) {
    const int64_t size = chunk.size_bytes();
    HttpHead head{200, kFileType, {{"Accept-Ranges", "bytes"}, AsAttachment(chunk.path())}};
    left_ = size;
    if (range_) {
      if (range_->first >= size) {
        AnswerError(*exchange_,
                    absl::OutOfRangeError(absl::StrCat("the file has ", size, " bytes")),
                    kRangeNotSatisfiable);
        return false;
      }
      const int64_t last = std::min(range_->last.value_or(size - 1), size - 1);
      head.status = kPartial;
      head.headers.emplace_back("Content-Range",
                                absl::StrCat("bytes ", range_->first, "-", last, "/", size));
      left_ = last - range_->first + 1;
    }
    exchange_->Begin(std::move(head), left_);
    return true;
  }

  const std::shared_ptr<Exchange> exchange_;
  const std::optional<ByteRange> range_;
  bool begun_ = false;
  int64_t left_ = 0;
};

class Tar : public StreamAnswer {
 public:
  Tar(std::shared_ptr<Exchange> exchange, std::string name)
      : exchange_(std::move(exchange)), name_(std::move(name)) {}

  void Next(const Message& message, std::function<void(bool)> taken) override {
    const auto& chunk = dynamic_cast<const v1::FileChunk&>(message);
    if (!std::exchange(begun_, true)) {
      exchange_->Begin({200, "application/x-tar", {AsAttachment(name_)}}, std::nullopt);
    }
    std::string bytes;
    if (!chunk.path().empty()) {
      const absl::StatusOr<std::string> header = TarHeader(chunk.path(), chunk.size_bytes());
      if (!header.ok() || exchange_->request().method == "HEAD") {
        exchange_->End(header.ok());
        return taken(false);
      }
      bytes = absl::StrCat(TarPadding(size_), *header);
      size_ = chunk.size_bytes();
    }
    absl::StrAppend(&bytes, chunk.data());
    exchange_->Write(std::move(bytes), [taken = std::move(taken)] { taken(true); });
  }

  void End(const absl::Status& status) override {
    if (!begun_) {
      return AnswerError(*exchange_,
                         status.ok() ? absl::InternalError("there are no files") : status);
    }
    if (status.ok()) exchange_->Write(absl::StrCat(TarPadding(size_), TarEnd()), nullptr);
    exchange_->End(status.ok());
  }

 private:
  const std::shared_ptr<Exchange> exchange_;
  const std::string name_;
  bool begun_ = false;
  int64_t size_ = 0;  // Of the present file.
};

// "graft.v1.AdapterService.DownloadAdapter" of jobs/k3f9 …: the last word of what is asked for.
std::string TarName(const HttpRequest& request) {
  const absl::string_view path =
      absl::string_view(request.target).substr(0, request.target.find('?'));
  const absl::string_view last = path.substr(path.rfind('/') + 1);
  return absl::StrCat(last.substr(0, last.find(':')), ".tar");
}

}  // namespace

absl::Status ApplyHeaders(const HttpRequest& http, const Route& route, Message* request) {
  const FieldDescriptor* resume = ResumeField(*request);
  if (resume == nullptr) return absl::OkStatus();
  const google::protobuf::Reflection& reflection = *request->GetReflection();
  if (IsFileFrom(route)) {
    if (const std::optional<ByteRange> range = RangeOf(http)) {
      reflection.SetInt64(request, resume, range->first);
    } else if (reflection.GetInt64(*request, resume) != 0) {
      return FieldViolation(resume->name(), "over HTTP a Range says where to begin");
    }
    return absl::OkStatus();
  }
  const std::string last = http.Header("last-event-id");
  int64_t id = 0;
  if (last.empty()) return absl::OkStatus();
  if (!absl::SimpleAtoi(last, &id) || id < 0) {
    return absl::InvalidArgumentError("Last-Event-ID must be the id of an event: a number");
  }
  reflection.SetInt64(request, resume, id);
  return absl::OkStatus();
}

std::shared_ptr<StreamAnswer> MakeStreamAnswer(std::shared_ptr<Exchange> exchange,
                                               const Route& route) {
  const auto* type = route.method->output_type();
  if (IsFileFrom(route)) return std::make_shared<File>(std::move(exchange));
  if (type == v1::FileChunk::descriptor()) {
    std::string name = TarName(exchange->request());
    return std::make_shared<Tar>(std::move(exchange), std::move(name));
  }
  if (type == v1::JobLogChunk::descriptor() && !AsksForEvents(exchange->request())) {
    return std::make_shared<LogText>(std::move(exchange));
  }
  auto events = std::make_shared<Events>(std::move(exchange));
  events->KeepAlive();
  return events;
}

}  // namespace graft
