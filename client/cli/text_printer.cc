#include "client/cli/text_printer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/terminal.h"
#include "common/rpc/status.h"

namespace graft {
namespace {

std::string HeadingOf(const v1::GenerateRequest& request, const std::string& of_prompt,
                      int sequence, int sequences) {
  const std::string& model = request.adapter().empty() ? request.base_model() : request.adapter();
  const std::string which =
      sequences == 1 ? "" : absl::StrCat(", ", sequence + 1, " of ", sequences);
  return absl::StrCat("==> ", of_prompt, model, which, " <==\n");
}

}  // namespace

TextPrinter::TextPrinter(const v1::GenerateBatchRequest& request, bool on_terminal,
                         const std::vector<std::string>& of_prompts)
    : on_terminal_(on_terminal) {
  for (int row = 0; row < request.requests_size(); ++row) {
    const int sequences = std::max(1, request.requests(row).num_return_sequences());
    for (int sequence = 0; sequence < sequences; ++sequence) {
      places_[{row, sequence}] = texts_.size();
      texts_.push_back(
          {.heading = HeadingOf(request.requests(row), of_prompts.empty() ? "" : of_prompts[row],
                                sequence, sequences)});
    }
  }
}

std::string TextPrinter::Take(const v1::GenerateBatchResponse& message) {
  const auto place = places_.find({message.row(), message.sequence()});
  if (place == places_.end()) return "";
  Text& text = texts_[place->second];
  if (message.has_error()) {
    const absl::Status status = FromRpcStatus(message.error());
    if (error_.ok()) error_ = status;
    absl::StrAppend(&text.pending, text.ended_line ? "" : "\n", "(failed: ", status.message(), ")");
    text.ended_line = false;
    text.ended = true;
  } else {
    const std::string& piece = message.response().text();
    text.pending += on_terminal_ ? Printable(piece) : piece;
    if (!piece.empty()) text.ended_line = piece.back() == '\n';
    text.ended = message.response().done();
  }
  return Flush();
}

std::string TextPrinter::Flush() {
  std::string printed;
  while (turn_ < texts_.size()) {
    Text& text = texts_[turn_];
    if (text.pending.empty() && !text.ended) break;
    if (!has_heading_) absl::StrAppend(&printed, turn_ == 0 ? "" : "\n", text.heading);
    has_heading_ = true;
    printed += std::exchange(text.pending, "");
    if (!text.ended) break;
    if (!text.ended_line) printed += "\n";
    has_heading_ = false;
    ++turn_;
  }
  return printed;
}

}  // namespace graft
