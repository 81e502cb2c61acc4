#include "common/text/json_row.h"

#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/text/unicode.h"

namespace graft {
namespace {

// True if one of the eight bytes is a quote, a backslash or a control character. May be true for
// other bytes behind such a one, never for none.
bool HasStringEnd(uint64_t word) {
  constexpr uint64_t kOnes = 0x0101010101010101ULL;
  constexpr uint64_t kHighs = 0x8080808080808080ULL;
  const auto has_zero = [](uint64_t x) { return (x - kOnes) & ~x & kHighs; };
  const uint64_t control = (word - kOnes * 0x20) & ~word & kHighs;
  return (has_zero(word ^ kOnes * '"') | has_zero(word ^ kOnes * '\\') | control) != 0;
}

// Four hexadecimal digits, or -1.
int32_t Hex4(absl::string_view digits) {
  if (digits.size() < 4) return -1;
  int32_t value = 0;
  for (const char c : digits.substr(0, 4)) {
    if (!absl::ascii_isxdigit(c)) return -1;
    value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return value;
}

}  // namespace

JsonRowParser::JsonRowParser(std::vector<std::string> wanted)
    : wanted_(std::move(wanted)), fields_(wanted_.size()) {}

absl::Status JsonRowParser::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat("column ", position_ + 1, ": ", what));
}

void JsonRowParser::SkipSpace() {
  while (position_ < line_.size()) {
    const char c = line_[position_];
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return;
    ++position_;
  }
}

bool JsonRowParser::Consume(char c) {
  if (position_ == line_.size() || line_[position_] != c) return false;
  ++position_;
  return true;
}

// Reads a string from behind its opening quote; `raw` is what stands between the quotes.
absl::Status JsonRowParser::ReadStringToken(absl::string_view* raw) {
  const size_t begin = position_;
  while (true) {
    while (line_.size() - position_ >= 8) {
      uint64_t word;
      std::memcpy(&word, line_.data() + position_, 8);
      if (HasStringEnd(word)) break;
      position_ += 8;
    }
    if (position_ == line_.size()) return Error("the line ends in the middle of a string");
    const char c = line_[position_];
    if (c == '"') break;
    if (static_cast<unsigned char>(c) < 0x20) return Error("a control character in a string");
    ++position_;
    if (c != '\\') continue;
    const char escaped = position_ < line_.size() ? line_[position_] : '\0';
    if (escaped == 'u') {
      if (Hex4(line_.substr(position_ + 1)) < 0) return Error("\\u without four digits behind it");
      position_ += 5;
    } else if (escaped != '\0' && std::strchr("\"\\/bfnrt", escaped) != nullptr) {
      ++position_;
    } else {
      return Error("no such escape in a string");
    }
  }
  *raw = line_.substr(begin, position_ - begin);
  ++position_;
  return absl::OkStatus();
}

// `i` is at the "u" of an escape; moves it to the last digit.
absl::Status JsonRowParser::UnescapeUnicode(absl::string_view raw, size_t* i, std::string* text) {
  char32_t c = Hex4(raw.substr(*i + 1));
  *i += 4;
  if (c >= 0xD800 && c <= 0xDFFF) {
    const absl::string_view rest = raw.substr(*i + 1);
    const int32_t low = absl::StartsWith(rest, "\\u") ? Hex4(rest.substr(2)) : -1;
    if (c >= 0xDC00 || low < 0xDC00 || low > 0xDFFF) {
      return Error("the string before it holds half a surrogate pair, which is no character");
    }
    c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    *i += 6;
  }
  AppendUtf8(c, text);
  return absl::OkStatus();
}

// `raw` has only the escapes that ReadStringToken lets through.
absl::Status JsonRowParser::Unescape(absl::string_view raw, std::string* text) {
  text->clear();
  for (size_t i = 0; i < raw.size(); ++i) {
    const size_t escape = std::min(raw.find('\\', i), raw.size());
    text->append(raw.data() + i, escape - i);
    if (escape == raw.size()) break;
    i = escape + 1;
    switch (raw[i]) {
      case 'b':
        text->push_back('\b');
        break;
      case 'f':
        text->push_back('\f');
        break;
      case 'n':
        text->push_back('\n');
        break;
      case 'r':
        text->push_back('\r');
        break;
      case 't':
        text->push_back('\t');
        break;
      case 'u':
        RETURN_IF_ERROR(UnescapeUnicode(raw, &i, text));
        break;
      default:
        text->push_back(raw[i]);
    }
  }
  return absl::OkStatus();
}

absl::Status JsonRowParser::ReadNumber() {
  Consume('-');
  const auto digits = [&] {
    const size_t begin = position_;
    while (position_ < line_.size() && absl::ascii_isdigit(line_[position_])) ++position_;
    return position_ - begin;
  };
  if (!Consume('0') && digits() == 0) return Error("no JSON value begins like this");
  if (Consume('.') && digits() == 0) return Error("digits must stand behind the point");
  if (Consume('e') || Consume('E')) {
    if (!Consume('+')) Consume('-');
    if (digits() == 0) return Error("digits must stand in the exponent");
  }
  return absl::OkStatus();
}

absl::Status JsonRowParser::ReadLiteral(const char** description) {
  static constexpr std::pair<absl::string_view, const char*> kLiterals[] = {
      {"true", "true"},    {"false", "false"},       {"null", "null"},
      {"NaN", "a number"}, {"Infinity", "a number"}, {"-Infinity", "a number"},
  };
  for (const auto& [literal, name] : kLiterals) {
    if (!absl::StartsWith(line_.substr(position_), literal)) continue;
    position_ += literal.size();
    *description = name;
    return absl::OkStatus();
  }
  *description = "a number";
  return ReadNumber();
}

absl::Status JsonRowParser::SkipScalar(const char** description) {
  if (!Consume('"')) return ReadLiteral(description);
  *description = "a string";
  absl::string_view raw;
  return ReadStringToken(&raw);
}

absl::Status JsonRowParser::SkipKey() {
  SkipSpace();
  if (!Consume('"')) return Error("the name of a field must stand here");
  absl::string_view raw;
  RETURN_IF_ERROR(ReadStringToken(&raw));
  SkipSpace();
  return Consume(':') ? absl::OkStatus() : Error("\":\" must stand here");
}

// Passes over one value of any kind. No recursion: a hostile line must not use up the stack.
absl::Status JsonRowParser::SkipValue(const char** description) {
  std::string open;  // the brackets that are open: '{' or '['
  const char* inner = nullptr;
  while (true) {
    SkipSpace();
    const bool object = Consume('{');
    if (object || Consume('[')) {
      if (open.empty()) *description = object ? "an object" : "a list";
      if (open.size() == kMaxJsonDepth) return Error("nested too deeply");
      SkipSpace();
      if (!Consume(object ? '}' : ']')) {
        open.push_back(object ? '{' : '[');
        if (object) RETURN_IF_ERROR(SkipKey());
        continue;
      }
    } else {
      RETURN_IF_ERROR(SkipScalar(open.empty() ? description : &inner));
    }
    // A value is complete: close what it ends, until a comma brings the next.
    while (!open.empty()) {
      SkipSpace();
      const bool in_object = open.back() == '{';
      if (Consume(',')) {
        if (in_object) RETURN_IF_ERROR(SkipKey());
        break;
      }
      if (!Consume(in_object ? '}' : ']')) {
        return Error(in_object ? "\",\" or \"}\" must stand here"
                               : "\",\" or \"]\" must stand here");
      }
      open.pop_back();
    }
    if (open.empty()) return absl::OkStatus();
  }
}

// A list from behind its bracket. Strings are kept until something else is found in it.
absl::Status JsonRowParser::ReadList(JsonField* field) {
  field->type = JsonField::Type::kStringList;
  field->description = "a list of strings";
  SkipSpace();
  if (Consume(']')) return absl::OkStatus();
  while (true) {
    SkipSpace();
    if (Consume('"')) {
      absl::string_view raw;
      RETURN_IF_ERROR(ReadStringToken(&raw));
      field->strings.emplace_back();
      RETURN_IF_ERROR(Unescape(raw, &field->strings.back()));
    } else {
      const char* description = nullptr;
      RETURN_IF_ERROR(SkipValue(&description));
      field->type = JsonField::Type::kOther;
      field->description = absl::StrCat("a list with ", description, " in it");
    }
    SkipSpace();
    if (Consume(']')) return absl::OkStatus();
    if (!Consume(',')) return Error("\",\" or \"]\" must stand here");
  }
}

absl::Status JsonRowParser::ReadWanted(JsonField* field) {
  // Of a field that stands twice the last value counts, so nothing of the first may stay.
  SkipSpace();
  if (Consume('"')) {
    absl::string_view raw;
    RETURN_IF_ERROR(ReadStringToken(&raw));
    field->type = JsonField::Type::kString;
    field->description = "a string";
    field->strings.resize(1);
    return Unescape(raw, &field->strings[0]);
  }
  field->strings.clear();
  if (Consume('[')) return ReadList(field);
  const size_t begin = position_;
  const char* description = nullptr;
  RETURN_IF_ERROR(SkipValue(&description));
  field->description = description;
  const bool number = field->description == "a number";
  field->type = number ? JsonField::Type::kNumber : JsonField::Type::kOther;
  if (number) field->strings.emplace_back(line_.substr(begin, position_ - begin));
  return absl::OkStatus();
}

JsonField* JsonRowParser::FindWanted(absl::string_view name) {
  for (size_t i = 0; i < wanted_.size(); ++i) {
    if (name == wanted_[i]) return &fields_[i];
  }
  return nullptr;
}

absl::Status JsonRowParser::ReadMember() {
  SkipSpace();
  if (!Consume('"')) return Error("the name of a field must stand here");
  absl::string_view name;
  RETURN_IF_ERROR(ReadStringToken(&name));
  if (absl::StrContains(name, '\\')) {
    unescaped_names_.emplace_back();
    RETURN_IF_ERROR(Unescape(name, &unescaped_names_.back()));
    name = unescaped_names_.back();
  }
  names_.push_back(name);
  SkipSpace();
  if (!Consume(':')) return Error("\":\" must stand here");
  if (JsonField* field = FindWanted(name)) return ReadWanted(field);
  const char* description = nullptr;
  return SkipValue(&description);
}

absl::Status JsonRowParser::Parse(absl::string_view line) {
  line_ = line;
  position_ = 0;
  names_.clear();
  unescaped_names_.clear();
  for (JsonField& field : fields_) field.type = JsonField::Type::kMissing;
  SkipSpace();
  if (!Consume('{')) return Error("a row must be a JSON object, which begins with \"{\"");
  SkipSpace();
  if (!Consume('}')) {
    while (true) {
      RETURN_IF_ERROR(ReadMember());
      SkipSpace();
      if (Consume('}')) break;
      if (!Consume(',')) return Error("\",\" or \"}\" must stand here");
    }
  }
  SkipSpace();
  if (position_ != line_.size()) return Error("something stands behind the row's object");
  return absl::OkStatus();
}

}  // namespace graft
