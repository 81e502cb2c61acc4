#pragma once

// Which requests may come to the API at all: browsers carry those of any page to this machine.

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/http/exchange.h"

namespace graft {

struct HttpRefusal {
  int status = 0;  // 0: none.
  std::string why;
};

// 400: no Host. 421: the request is for a host that is not one of this server's names: those of
// loopback, the address that it came to, and `hosts`. Another page's name that now leads here (DNS
// rebinding) is none.
HttpRefusal CheckHost(const HttpRequest& request, const std::vector<std::string>& hosts);

// Of a request that changes something. 403: a page of another server sent it. 415: its
// Content-Type is one that any page may send, or not one that `uploads` or else JSON has.
HttpRefusal CheckChange(const HttpRequest& request, const std::vector<absl::string_view>& types);

// "text/csv; charset=utf-8" is "text/csv".
std::string MediaType(absl::string_view content_type);

}  // namespace graft
