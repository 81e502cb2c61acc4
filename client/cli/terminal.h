#pragma once

// What a terminal can show, and the one line of it that is redrawn.

#include <cstdio>
#include <string>

namespace graft {

// By LC_ALL, LC_CTYPE or LANG, the first of them that is set. Where text is not UTF-8, nothing but
// ASCII is printed for people.
bool IsUtf8Locale();
// The text as this locale shows it: in UTF-8 as it is, else with "..." for "…" and '?' for every
// other character outside ASCII. Newlines and tabs stay; every other control, with which a text
// could move the cursor or more, is '?'.
std::string Printable(const std::string& text);

// A terminal that takes escape codes: not with TERM=dumb or without TERM.
bool TakesEscapes(int fd);
// One whose user does not say NO_COLOR (https://no-color.org), too.
bool TakesColour(int fd);
// 80 where it is not known.
size_t TerminalColumns(int fd);
// Room for a line of a table: a terminal's columns, anywhere else without bounds.
size_t LineRoom(int fd);

// The last line of a terminal, redrawn in place below the lines that stay; nothing at all where
// `stream` takes no escape codes. The cursor rests at its beginning: a window that becomes narrower
// may wrap the line, and then everything from the cursor on is the line. Not thread-safe.
class LiveLine {
 public:
  explicit LiveLine(FILE* stream);
  ~LiveLine() { Erase(); }
  LiveLine(const LiveLine&) = delete;

  bool live() const { return live_; }
  // What `text` may take at the most, in columns, to be drawn now.
  size_t columns() const;
  void Draw(const std::string& text);
  // Whatever else is to be printed, to any stream, comes after this.
  void Erase();

 private:
  FILE* const stream_;
  const bool live_;
  size_t drawn_columns_ = 0;  // Of the terminal when the line was drawn; 0: there is none.
};

}  // namespace graft
