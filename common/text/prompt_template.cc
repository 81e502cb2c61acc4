#include "common/text/prompt_template.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace graft {
namespace {

constexpr absl::string_view kSource = "source";
constexpr absl::string_view kPlaceholder = "{source}";

absl::Status NotOnce() {
  return absl::InvalidArgumentError(
      "must contain {source} exactly once, which stands for source_field");
}

absl::Status BraceError(absl::string_view what, size_t at) {
  return absl::InvalidArgumentError(
      absl::StrCat("has ", what, " at byte ", at + 1,
                   "; {name} is a field of the row, and braces are written {{ and }}"));
}

}  // namespace

PromptTemplate::PromptTemplate() : before_(1), after_(1) {}

absl::StatusOr<PromptTemplate> PromptTemplate::Parse(absl::string_view text,
                                                     TemplateSyntax syntax) {
  PromptTemplate parsed;
  if (syntax == TemplateSyntax::kFields) {
    RETURN_IF_ERROR(parsed.ParseFields(text));
    return parsed;
  }
  const size_t at = text.find(kPlaceholder);
  if (at == absl::string_view::npos) return NotOnce();
  const absl::string_view after = text.substr(at + kPlaceholder.size());
  if (after.find(kPlaceholder) != absl::string_view::npos) return NotOnce();
  parsed.before_[0].text = std::string(text.substr(0, at));
  parsed.after_[0].text = std::string(after);
  return parsed;
}

absl::Status PromptTemplate::ParseFields(absl::string_view text) {
  std::vector<Piece>* pieces = &before_;
  size_t at = 0;
  while (true) {
    const size_t brace = std::min(text.find_first_of("{}", at), text.size());
    absl::StrAppend(&pieces->back().text, text.substr(at, brace - at));
    if (brace == text.size()) break;
    if (brace + 1 < text.size() && text[brace + 1] == text[brace]) {
      pieces->back().text += text[brace];
      at = brace + 2;
      continue;
    }
    if (text[brace] == '}') return BraceError("a } that ends no field", brace);
    const size_t end = text.find_first_of("{}", brace + 1);
    if (end == absl::string_view::npos || text[end] == '{') {
      return BraceError("a { that begins no field", brace);
    }
    const absl::string_view name = text.substr(brace + 1, end - brace - 1);
    if (name.empty()) return BraceError("a field without a name", brace);
    at = end + 1;
    if (name != kSource) {
      pieces->back().field = IndexOf(name);
      pieces->emplace_back();
      continue;
    }
    if (pieces == &after_) return NotOnce();
    pieces = &after_;
  }
  return pieces == &after_ ? absl::OkStatus() : NotOnce();
}

size_t PromptTemplate::IndexOf(absl::string_view field) {
  const auto found = std::find(fields_.begin(), fields_.end(), field);
  const size_t index = found - fields_.begin();
  if (found == fields_.end()) fields_.emplace_back(field);
  return index;
}

std::string PromptTemplate::Fill(const std::vector<Piece>& pieces,
                                 absl::Span<const std::string> values) {
  std::string filled;
  for (const Piece& piece : pieces) {
    absl::StrAppend(&filled, piece.text, piece.field == kNoField ? "" : values[piece.field]);
  }
  return filled;
}

absl::StatusOr<std::vector<std::string>> PromptTemplate::ValuesOf(
    const std::map<std::string, std::string>& by_name) const {
  for (const auto& [name, value] : by_name) {
    if (std::find(fields_.begin(), fields_.end(), name) != fields_.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "has \"", name, "\", which the prompt template does not put in; its fields are: ",
        fields_.empty() ? "none" : absl::StrJoin(fields_, ", ")));
  }
  std::vector<std::string> values;
  for (const std::string& name : fields_) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "lacks \"", name, "\"; the prompt template puts in ", absl::StrJoin(fields_, ", ")));
    }
    values.push_back(found->second);
  }
  return values;
}

std::vector<std::string> TemplateFields(absl::string_view text, TemplateSyntax syntax) {
  absl::StatusOr<PromptTemplate> parsed = PromptTemplate::Parse(text, syntax);
  return parsed.ok() ? parsed->fields() : std::vector<std::string>();
}

}  // namespace graft
