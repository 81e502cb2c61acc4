#include "client/cli/live_block.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "client/cli/terminal.h"

namespace graft {
namespace {

constexpr size_t kUsualRows = 24;

}  // namespace

LiveBlock::LiveBlock(FILE* stream) : stream_(stream), live_(TakesEscapes(::fileno(stream))) {}

size_t LiveBlock::rows() const {
  winsize size{};
  const bool known = ::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_row > 0;
  return known ? size.ws_row : kUsualRows;
}

void LiveBlock::Draw(const std::string& lines) {
  if (!live_) return;
  Erase();
  const auto count = std::count(lines.begin(), lines.end(), '\n');
  std::fprintf(stream_, "%s\x1b[%ldA\r", Printable(lines).c_str(), static_cast<long>(count));
  std::fflush(stream_);
  drawn_ = true;
}

void LiveBlock::Erase() {
  if (!drawn_) return;
  std::fputs("\r\x1b[J", stream_);
  std::fflush(stream_);
  drawn_ = false;
}

}  // namespace graft
