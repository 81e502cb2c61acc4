#pragma once

// HTTP requests become requests of the services.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "server/http/routes.h"

namespace graft {

// The request of the route's method: of its body (empty: none), the query and the path, each of
// which wins over the one before. INVALID_ARGUMENT has the path of what is wrong. The body of an
// upload is not in it.
absl::StatusOr<std::unique_ptr<google::protobuf::Message>> MakeRequest(
    const RouteTable::Match& match, const std::vector<std::pair<std::string, std::string>>& query,
    absl::string_view body);

// A message of the type, empty.
std::unique_ptr<google::protobuf::Message> NewMessage(const google::protobuf::Descriptor& type);

}  // namespace graft
