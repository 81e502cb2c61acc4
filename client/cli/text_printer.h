#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "graft/v1/adapter.pb.h"

namespace graft {

// The texts of a batch one after the other, though they come beside each other: the first that has
// not ended is printed as it comes, what comes of later ones waits for its turn.
class TextPrinter {
 public:
  // `on_terminal`: people read it; elsewhere a text is data.
  // `of_prompts`, where there are some, is what each request's heading begins with.
  TextPrinter(const v1::GenerateBatchRequest& request, bool on_terminal,
              const std::vector<std::string>& of_prompts = {});

  // What can be printed now.
  std::string Take(const v1::GenerateBatchResponse& message);
  // The first error of a text; each is told in its place, too.
  const absl::Status& error() const { return error_; }

 private:
  struct Text {
    std::string heading;
    std::string pending;
    bool ended_line = true;
    bool ended = false;
  };
  // Heading and what has come of the text whose turn it is, and of those after it if it has ended.
  std::string Flush();

  const bool on_terminal_;
  std::vector<Text> texts_;
  std::map<std::pair<int, int>, size_t> places_;  // By request and sequence.
  size_t turn_ = 0;
  bool has_heading_ = false;
  absl::Status error_;
};

}  // namespace graft
