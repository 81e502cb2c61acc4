#pragma once

// The web page's files, as they are in the program: embedded at build time, so that it needs no
// directory and nothing from elsewhere.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace graft {

struct PageFile {
  absl::string_view path;  // "views/jobs.js"
  absl::string_view etag;  // Of its bytes, in quotes, as HTTP has it.
  absl::string_view bytes;
};

// All of them.
const std::vector<PageFile>& PageFiles();

// The one that a request's path names: "/" is index.html, "/page/views/jobs.js" a file. Null: none.
const PageFile* FindPageFile(absl::string_view request_path);

// "text/javascript; charset=utf-8", by the path's ending.
absl::string_view MediaTypeOf(const PageFile& file);

// Headers of each answer that is a file: nothing but these files may run or style the page, no
// other page may hold it, and a browser asks each time whether it has the present ones.
const std::vector<std::pair<std::string, std::string>>& PageHeaders();

}  // namespace graft
