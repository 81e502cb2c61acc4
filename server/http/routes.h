#pragma once

// The paths of the public API, as its .proto files say them (google.api.http).

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "server/http/url.h"

namespace graft {

// All services of the public API.
std::vector<const google::protobuf::ServiceDescriptor*> PublicServices();

// "POST" "/v1/{name=jobs/*}:cancel".
struct Route {
  // A piece of the path that becomes a field of the request: the segments begin..end.
  struct Variable {
    std::string field;
    size_t begin = 0;
    size_t end = 0;
  };

  const google::protobuf::MethodDescriptor* method = nullptr;
  std::string verb;                   // Of HTTP: "POST".
  std::string path;                   // As it is written there.
  std::vector<std::string> segments;  // A word, or "*" for any one, or, last, "**" for one or more.
  std::string custom_verb;            // "cancel"
  std::vector<Variable> variables;
  std::string body;  // Field that is the request's body; "*": it is the request.
};

class RouteTable {
 public:
  // Of what the services' options say.
  explicit RouteTable(const std::vector<const google::protobuf::ServiceDescriptor*>& services);

  struct Match {
    const Route* route = nullptr;
    std::vector<std::pair<std::string, std::string>> variables;  // Field and value, decoded.
  };
  // NOT_FOUND: nothing has this path. UNIMPLEMENTED: not with this verb; says which it has.
  // INVALID_ARGUMENT: see Decoded.
  absl::StatusOr<Match> Find(const std::string& verb, const Target& target) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace graft
