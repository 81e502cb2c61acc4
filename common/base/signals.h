#pragma once

// The signals that end a program in order, or tell it that its log was moved away.

#include <csignal>

#include "absl/types/span.h"

namespace graft {

// Takes SIGINT, SIGTERM and SIGHUP from all threads of the program for one that waits for them.
// SIGHUP that was ignored when the program began (nohup) stays ignored and never comes.
class ProgramSignals {
 public:
  // Blocks them, and those of `more`, in the calling thread, and so in all that it starts: before
  // there is any other.
  explicit ProgramSignals(absl::Span<const int> more = {});
  ProgramSignals(const ProgramSignals&) = delete;
  ProgramSignals& operator=(const ProgramSignals&) = delete;

  // Blocks until the next one comes. For one thread.
  int Wait() const;

 private:
  sigset_t signals_;
};

}  // namespace graft
