#include "server/http/upload_messages.h"

#include <utility>

#include "graft/v1/job.pb.h"
#include "server/http/transcoding.h"

namespace graft {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const FieldDescriptor& BodyOf(const Route& route) {
  return *route.method->input_type()->FindFieldByName(route.body);
}

bool HasFiles(const Route& route) {
  return BodyOf(route).message_type() == v1::FileChunk::descriptor();
}

// The body is one file: its pieces are the field.
class OneFile : public UploadMessages {
 public:
  explicit OneFile(const Route& route) : type_(*route.method->input_type()), body_(BodyOf(route)) {}

  absl::Status Add(absl::string_view piece,
                   std::deque<std::unique_ptr<Message>>* messages) override {
    std::unique_ptr<Message> message = NewMessage(type_);
    message->GetReflection()->SetString(message.get(), &body_, std::string(piece));
    messages->push_back(std::move(message));
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  const Descriptor& type_;
  const FieldDescriptor& body_;
};

// The body is a tar.
class Files : public UploadMessages {
 public:
  explicit Files(const Route& route)
      : type_(*route.method->input_type()),
        body_(BodyOf(route)),
        reader_(
            [this](const std::string& path, int64_t size_bytes) {
              v1::FileChunk chunk;
              chunk.set_path(path);
              chunk.set_size_bytes(size_bytes);
              Push(chunk);
            },
            [this](absl::string_view data) {
              v1::FileChunk chunk;
              chunk.set_data(std::string(data));
              Push(chunk);
            }) {}

  absl::Status Add(absl::string_view piece,
                   std::deque<std::unique_ptr<Message>>* messages) override {
    messages_ = messages;
    return reader_.Read(piece);
  }
  absl::Status Finish() override { return reader_.Finish(); }

 private:
  void Push(const v1::FileChunk& chunk) {
    std::unique_ptr<Message> message = NewMessage(type_);
    message->GetReflection()->MutableMessage(message.get(), &body_)->CopyFrom(chunk);
    messages_->push_back(std::move(message));
  }

  const Descriptor& type_;
  const FieldDescriptor& body_;
  std::deque<std::unique_ptr<Message>>* messages_ = nullptr;  // During Add.
  TarReader reader_;
};

}  // namespace

std::vector<absl::string_view> UploadTypes(const Route& route) {
  if (HasFiles(route)) return {"application/x-tar"};
  return {"application/octet-stream",
          "application/jsonl",
          "application/x-ndjson",
          "text/csv",
          "text/plain",
          "application/gzip"};
}

std::unique_ptr<UploadMessages> MakeUploadMessages(const Route& route) {
  if (HasFiles(route)) return std::make_unique<Files>(route);
  return std::make_unique<OneFile>(route);
}

}  // namespace graft
