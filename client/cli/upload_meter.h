#pragma once

// How an upload looks on a terminal.

#include <string>

#include "absl/time/time.h"
#include "client/cli/command.h"
#include "client/upload.h"

namespace graft {

// Turns what an upload tells into what is printed. No output of its own. `now` is of any clock that
// does not go back.
class UploadView {
 public:
  // The line that is redrawn:
  //   reading 1.2 GB of 6.0 GB
  //   12.3 MB of 45.6 MB  8.1 MB/s  4.1s left
  // Rate and time left are of what was sent since this connection began.
  std::string Line(const UploadProgress& progress, absl::Duration now);
  // A line that stays, with its end; empty when there is nothing new to say:
  //   goes on at 12.3 MB of 45.6 MB
  std::string News(const UploadProgress& progress);

 private:
  int64_t told_kept_bytes_ = 0;
  bool sending_ = false;
  absl::Duration begin_;  // Of this connection.
};

// Redraws the line on a terminal; elsewhere says only that the connection broke.
UploadObserver UploadMeter(const CliContext& context);

}  // namespace graft
