#pragma once

// What stands around a source in a prompt: "Title: {title}\n{source}\nTL;DR:".

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace graft {

enum class TemplateSyntax {
  kLiteral,  // Braces are text, but for "{source}".
  kFields,   // "{name}" is the row's field of that name; "{{" and "}}" are braces.
};

class PromptTemplate {
 public:
  // INVALID_ARGUMENT, with how it is written: "{source}" is not there exactly once; a brace of
  // kFields that belongs to no field, or to one without a name.
  static absl::StatusOr<PromptTemplate> Parse(absl::string_view text, TemplateSyntax syntax);

  // Names of the fields beside the source, each once, in the order in which they come.
  const std::vector<std::string>& fields() const { return fields_; }
  // What stands before and behind the source; `values` are those of fields(), in their order.
  std::string Before(absl::Span<const std::string> values) const { return Fill(before_, values); }
  std::string After(absl::Span<const std::string> values) const { return Fill(after_, values); }
  // Values in that order. INVALID_ARGUMENT: `by_name` lacks one of fields(), or has another one.
  absl::StatusOr<std::vector<std::string>> ValuesOf(
      const std::map<std::string, std::string>& by_name) const;

 private:
  static constexpr size_t kNoField = static_cast<size_t>(-1);
  struct Piece {
    std::string text;
    size_t field = kNoField;  // Behind the text comes the value of fields_[field].
  };

  PromptTemplate();

  static std::string Fill(const std::vector<Piece>& pieces, absl::Span<const std::string> values);
  absl::Status ParseFields(absl::string_view text);
  size_t IndexOf(absl::string_view field);

  // Neither is empty.
  std::vector<Piece> before_;
  std::vector<Piece> after_;
  std::vector<std::string> fields_;
};

// fields() of a template; none where it is no good, which Parse says.
std::vector<std::string> TemplateFields(absl::string_view text, TemplateSyntax syntax);

}  // namespace graft
