#include "client/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace graft {
namespace {

absl::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// What a terminal obeys: the controls of ASCII, but for those that text is laid out with, and those
// from U+0080 to U+009F.
constexpr unsigned char kC1Lead = 0xc2;
bool IsControl(const std::string& text, size_t place) {
  const auto byte = static_cast<unsigned char>(text[place]);
  if (byte == kC1Lead) {
    return place + 1 < text.size() && static_cast<unsigned char>(text[place + 1]) < 0xa0;
  }
  return (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
}

}  // namespace

bool IsUtf8Locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const absl::string_view locale = Environment(name);
    if (locale.empty()) continue;
    const std::string lower = absl::AsciiStrToLower(locale);
    return absl::StrContains(lower, "utf-8") || absl::StrContains(lower, "utf8");
  }
  return false;
}

std::string Printable(const std::string& text) {
  const bool utf8 = IsUtf8Locale();
  const std::string spelled = utf8 ? text : absl::StrReplaceAll(text, {{"…", "..."}});
  std::string shown;
  for (size_t i = 0; i < spelled.size(); ++i) {
    const auto byte = static_cast<unsigned char>(spelled[i]);
    if (IsControl(spelled, i)) {
      shown += '?';
      if (byte == kC1Lead) ++i;
    } else if (byte < 0x80 || utf8) {
      shown += spelled[i];
    } else if (byte >= 0xc0) {
      shown += '?';  // The first byte of a character.
    }
  }
  return shown;
}

bool TakesEscapes(int fd) {
  const absl::string_view terminal = Environment("TERM");
  return isatty(fd) != 0 && !terminal.empty() && terminal != "dumb";
}

bool TakesColour(int fd) { return TakesEscapes(fd) && Environment("NO_COLOR").empty(); }

size_t TerminalColumns(int fd) {
  winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

size_t LineRoom(int fd) {
  return ::isatty(fd) != 0 ? TerminalColumns(fd) : std::numeric_limits<size_t>::max();
}

LiveLine::LiveLine(FILE* stream) : stream_(stream), live_(TakesEscapes(fileno(stream))) {}

size_t LiveLine::columns() const {
  // In the last column some terminals wrap at once, and some when the next character comes.
  return std::max<size_t>(TerminalColumns(fileno(stream_)), 2) - 1;
}

void LiveLine::Draw(const std::string& text) {
  if (!live_) return;
  const size_t columns = TerminalColumns(fileno(stream_));
  if (drawn_columns_ != columns) Erase();
  drawn_columns_ = columns;
  // Over the old line rather than after erasing it: nothing flickers.
  std::fprintf(stream_, "\r%s\033[K\r", text.c_str());
  std::fflush(stream_);
}

void LiveLine::Erase() {
  if (drawn_columns_ == 0) return;
  const bool may_be_wrapped = drawn_columns_ != TerminalColumns(fileno(stream_));
  drawn_columns_ = 0;
  std::fputs(may_be_wrapped ? "\r\033[K\033[J" : "\r\033[K", stream_);
  std::fflush(stream_);
}

}  // namespace graft
