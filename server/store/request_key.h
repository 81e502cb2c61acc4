#pragma once

#include <string>

namespace graft {

// A client's request_id and what it was sent with. An empty id is no key.
struct RequestKey {
  std::string id;
  std::string body_sha256;  // Of the serialised request without its request_id.
};

}  // namespace graft
