#pragma once

// A strict parser for one line of JSON lines that keeps only the fields it is asked for. A general
// JSON library builds, or at least visits, every value one byte at a time; this one skips along
// strings at memory speed, and knows the column of each error.

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace graft {

// The value of a wanted field.
struct JsonField {
  enum class Type { kMissing, kString, kStringList, kNumber, kOther };
  Type type = Type::kMissing;
  // kString: one. kStringList: the list. kNumber: one, as it is spelled. Else none.
  std::vector<std::string> strings;
  // What stands there, for messages: "a number", "a list with a number in it", …
  std::string description;
};

// Not thread-safe; used again for line after line.
class JsonRowParser {
 public:
  explicit JsonRowParser(std::vector<std::string> wanted);

  // Parses a line that is one JSON object (RFC 8259; NaN, Infinity and -Infinity count as numbers).
  // `line` is UTF-8, without its line end, and must live as long as the results are read.
  // INVALID_ARGUMENT: broken JSON ("column 17: …", counted in bytes from 1), nested deeper than
  // kMaxJsonDepth of common/base/json.h, or a wanted string has half a surrogate pair in it.
  absl::Status Parse(absl::string_view line);

  // Of the wanted field with this index, after Parse. A field that stands twice has its last value.
  const JsonField& field(size_t index) const { return fields_[index]; }
  // The names of all fields, without escapes.
  const std::vector<absl::string_view>& names() const { return names_; }

 private:
  absl::Status Error(absl::string_view what) const;
  void SkipSpace();
  bool Consume(char c);
  absl::Status ReadStringToken(absl::string_view* raw);
  absl::Status Unescape(absl::string_view raw, std::string* text);
  absl::Status UnescapeUnicode(absl::string_view raw, size_t* i, std::string* text);
  absl::Status ReadNumber();
  absl::Status ReadLiteral(const char** description);
  absl::Status ReadMember();
  absl::Status ReadWanted(JsonField* field);
  absl::Status ReadList(JsonField* field);
  absl::Status SkipValue(const char** description);
  absl::Status SkipScalar(const char** description);
  absl::Status SkipKey();
  JsonField* FindWanted(absl::string_view name);

  std::vector<std::string> wanted_;
  std::vector<JsonField> fields_;
  std::vector<absl::string_view> names_;
  std::deque<std::string> unescaped_names_;  // Of those in names_ that have escapes in the line.
  absl::string_view line_;
  size_t position_ = 0;
};

}  // namespace graft
