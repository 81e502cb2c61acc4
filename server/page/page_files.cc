#include "server/page/page_files.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace graft {

const PageFile* FindPageFile(absl::string_view request_path) {
  absl::string_view path = "index.html";
  if (request_path != "/") {
    path = request_path;
    if (!absl::ConsumePrefix(&path, "/page/")) return nullptr;
  }
  const std::vector<PageFile>& files = PageFiles();
  const auto found = std::find_if(files.begin(), files.end(),
                                  [path](const PageFile& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

absl::string_view MediaTypeOf(const PageFile& file) {
  if (absl::EndsWith(file.path, ".html")) return "text/html; charset=utf-8";
  if (absl::EndsWith(file.path, ".js")) return "text/javascript; charset=utf-8";
  if (absl::EndsWith(file.path, ".css")) return "text/css; charset=utf-8";
  if (absl::EndsWith(file.path, ".svg")) return "image/svg+xml";
  return "text/plain; charset=utf-8";
}

const std::vector<std::pair<std::string, std::string>>& PageHeaders() {
  static const std::vector<std::pair<std::string, std::string>> headers = {
      {"Content-Security-Policy",
       "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
       "object-src 'none'"},
      {"Referrer-Policy", "no-referrer"},
      {"Cache-Control", "no-cache"},
  };
  return headers;
}

}  // namespace graft
