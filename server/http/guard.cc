#include "server/http/guard.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/utf8.h"
#include "common/telemetry/exposer.h"

namespace graft {
namespace {

constexpr size_t kShownBytes = 100;

// "[::1]:9464" is "::1", "Localhost" is "localhost"; nothing where it is no host and port.
std::optional<std::string> HostOf(absl::string_view authority) {
  const bool bracketed = absl::StartsWith(authority, "[");
  const size_t colon = authority.find(':', bracketed ? authority.find(']') : 0);
  absl::string_view host = authority.substr(0, colon);
  int port = 0;
  if (colon != absl::string_view::npos &&
      (!absl::SimpleAtoi(authority.substr(colon + 1), &port) || port < 1 || port > 65535)) {
    return std::nullopt;
  }
  if (bracketed && (!absl::ConsumePrefix(&host, "[") || !absl::ConsumeSuffix(&host, "]"))) {
    return std::nullopt;
  }
  if (host.empty() || host.find_first_of("/@?#\\ ") != absl::string_view::npos) {
    return std::nullopt;
  }
  return absl::AsciiStrToLower(host);
}

// 127.0.0.1.example.com is none.
bool IsLoopbackName(absl::string_view host) {
  return IsLoopback(host) && (!absl::StartsWith(host, "127.") ||
                              host.find_first_not_of("0123456789.") == absl::string_view::npos);
}

// "http://localhost:9464" is "localhost:9464".
std::string AuthorityOf(absl::string_view origin) {
  if (!absl::ConsumePrefix(&origin, "http://")) absl::ConsumePrefix(&origin, "https://");
  return absl::AsciiStrToLower(origin);
}

}  // namespace

HttpRefusal CheckHost(const HttpRequest& request, const std::vector<std::string>& hosts) {
  const std::string header = request.Header("host");
  const std::optional<std::string> host = HostOf(header);
  if (!host) return {400, "the request has no Host, or one that is no host"};
  if (IsLoopbackName(*host) || *host == request.server) return {};
  for (const std::string& allowed : hosts) {
    if (absl::EqualsIgnoreCase(allowed, *host)) return {};
  }
  return {421, absl::StrCat("\"", Shortened(header, kShownBytes),
                            "\" is no name of this server; graft-server --http-host NAME "
                            "makes it one")};
}

HttpRefusal CheckChange(const HttpRequest& request, const std::vector<absl::string_view>& types) {
  const std::string origin = request.Header("origin");
  if (!origin.empty() && AuthorityOf(origin) != absl::AsciiStrToLower(request.Header("host"))) {
    return {403,
            absl::StrCat("a page of ", Shortened(origin, kShownBytes), " may change nothing here")};
  }
  // Without a body no page may send it to another server, unless that says so beforehand.
  if (request.method == "DELETE" && !request.has_body) return {};
  const std::string type = MediaType(request.Header("content-type"));
  if (std::find(types.begin(), types.end(), type) != types.end()) return {};
  return {415, absl::StrCat("Content-Type must be ", absl::StrJoin(types, " or "), ", not \"",
                            Shortened(type, kShownBytes), "\"")};
}

std::string MediaType(absl::string_view content_type) {
  const absl::string_view type = content_type.substr(0, content_type.find(';'));
  return absl::AsciiStrToLower(absl::StripAsciiWhitespace(type));
}

}  // namespace graft
