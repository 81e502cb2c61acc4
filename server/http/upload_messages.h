#pragma once

// A request's body becomes the messages of an upload.

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "server/http/routes.h"
#include "server/http/tar.h"

namespace graft {

// Media types that the body of such a route may have: a file's own, or tar where the messages are
// of several files.
std::vector<absl::string_view> UploadTypes(const Route& route);

class UploadMessages {
 public:
  virtual ~UploadMessages() = default;
  // Messages of what came of the body, in order.
  virtual absl::Status Add(absl::string_view piece,
                           std::deque<std::unique_ptr<google::protobuf::Message>>* messages) = 0;
  // All of it came. INVALID_ARGUMENT: it ends too early.
  virtual absl::Status Finish() = 0;
};

std::unique_ptr<UploadMessages> MakeUploadMessages(const Route& route);

}  // namespace graft
