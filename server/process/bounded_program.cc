#include "server/process/bounded_program.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>

#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/unique_fd.h"

namespace graft {
namespace {

// Between two looks at the clock and at the child's end.
constexpr absl::Duration kSlice = absl::Milliseconds(50);
constexpr absl::Duration kGraceWhenCutShort = absl::Milliseconds(200);
// Between two reads of what is dropped: who writes without end waits for them.
constexpr absl::Duration kSliceOfDropping = absl::Milliseconds(5);
constexpr size_t kReadBytes = 64 * 1024;

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return FileError(errno, "make", "a pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

void NeverBlock(const UniqueFd& fd) { ::fcntl(fd.get(), F_SETFL, O_NONBLOCK); }

// What the program writes, as lines.
class Lines {
 public:
  explicit Lines(const BoundedProgram& program) : program_(program) {}

  void Take(absl::string_view bytes) {
    for (const char c : bytes) {
      if (full()) {
        ++dropped_;
      } else if (c == '\n') {
        Tell();
      } else if (line_.size() < program_.max_line_bytes) {
        line_ += c;
      } else {
        ++dropped_;
      }
    }
  }
  bool full() const { return told_ == program_.max_lines; }
  // The last line may lack its end. Returns how many bytes were not told.
  int64_t End() {
    if (!line_.empty()) Tell();
    return dropped_;
  }

 private:
  void Tell() {
    program_.on_line(line_);
    line_.clear();
    ++told_;
  }

  const BoundedProgram& program_;
  std::string line_;
  int told_ = 0;
  int64_t dropped_ = 0;
};

// The two pipes to the child, of which neither may block.
class Talk {
 public:
  Talk(const BoundedProgram& program, UniqueFd in, UniqueFd out)
      : input_(program.input), in_(std::move(in)), out_(std::move(out)), lines_(program) {
    NeverBlock(in_);
    NeverBlock(out_);
  }

  // Waits for either, a slice at the most, and goes on with what is ready.
  void Go() {
    const bool dropping = lines_.full();
    std::array<pollfd, 2> fds = {
        {{in_.get(), POLLOUT, 0}, {dropping ? -1 : out_.get(), POLLIN, 0}}};
    ::poll(fds.data(), fds.size(),
           static_cast<int>(absl::ToInt64Milliseconds(dropping ? kSliceOfDropping : kSlice)));
    if (fds[0].revents != 0) Write();
    if (fds[1].revents != 0 || dropping) Read();
  }
  // What it wrote before its end. Whoever else holds the pipe is not waited for.
  int64_t End() {
    while (Read()) {
      if (++reads_after_end_ == 16) break;  // More than a pipe holds: another goes on writing.
    }
    return lines_.End();
  }

 private:
  // -1 closes nothing, and poll looks at no such descriptor.
  void Write() {
    const ssize_t written = ::write(in_.get(), input_.data(), input_.size());
    if (written > 0) input_.remove_prefix(static_cast<size_t>(written));
    const bool later = written < 0 && (errno == EAGAIN || errno == EINTR);
    // It may close its input and never read it.
    if (input_.empty() || (written < 0 && !later)) in_ = UniqueFd();
  }
  // False: nothing was there.
  bool Read() {
    if (out_.get() < 0) return false;
    std::array<char, kReadBytes> buffer;
    const ssize_t size = ::read(out_.get(), buffer.data(), buffer.size());
    if (size > 0) lines_.Take({buffer.data(), static_cast<size_t>(size)});
    const bool later = size < 0 && (errno == EAGAIN || errno == EINTR);
    if (size <= 0 && !later) out_ = UniqueFd();
    return size > 0;
  }

  absl::string_view input_;
  UniqueFd in_;
  UniqueFd out_;
  Lines lines_;
  int reads_after_end_ = 0;
};

}  // namespace

absl::StatusOr<ProgramEnd> RunBounded(const BoundedProgram& program, StopSignal& cut_short,
                                      Clock& clock) {
  ASSIGN_OR_RETURN(Pipe in, MakePipe());
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  SubprocessOptions process;
  process.argv = program.argv;
  process.environment = program.environment;
  process.stdin_fd = in.read_end.get();
  process.output_fd = out.write_end.get();
  process.own_group = true;
  absl::Duration deadline = clock.Boottime() + program.limit;
  ASSIGN_OR_RETURN(Subprocess child, Subprocess::Start(process));
  in.read_end = UniqueFd();
  out.write_end = UniqueFd();
  Talk talk(program, std::move(in.write_end), std::move(out.read_end));
  ProgramEnd end;
  std::optional<ExitStatus> status;
  while (!(status = child.WaitFor(absl::ZeroDuration()))) {
    talk.Go();
    const absl::Duration now = clock.Boottime();
    const bool stopping = end.timed_out || end.cut_short;
    if (!stopping && (now >= deadline || cut_short.stopped())) {
      end.timed_out = now >= deadline;
      end.cut_short = !end.timed_out;
      deadline = now + (end.cut_short ? kGraceWhenCutShort : program.grace);
      child.SignalGroup(SIGTERM);
    } else if (stopping && now >= deadline) {
      child.SignalGroup(SIGKILL);
    }
  }
  end.status = *status;
  end.dropped_bytes = talk.End();
  return end;
}

}  // namespace graft
