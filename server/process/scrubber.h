#pragma once

#include <set>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "common/blobs/file_blob_store.h"
#include "common/telemetry/metrics.h"

namespace graft {

struct ScrubberOptions {
  int64_t bytes_per_second = 20'000'000;
  // From the start of one round through all blobs to that of the next; longer where that takes
  // longer.
  absl::Duration round = absl::Hours(24);
  // Before the first round, and between two looks at what others found; in a round they are looked
  // for after each blob.
  absl::Duration interval = absl::Minutes(1);
  Clock* clock = &Clock::Real();
};

// Reads every blob now and then and compares it with its name, so that what nobody asks for does
// not rot unnoticed. Each corrupt blob, whoever came across it, is one line in the log; how many
// there are is graft_corrupt_blobs. A round begins anywhere, so that servers that live shorter than
// a round see to all blobs in the end, too. Owns one thread.
class Scrubber {
 public:
  // The others must outlive it, and `blobs` the last scrape of `metrics`.
  Scrubber(const ScrubberOptions& options, FileBlobStore& blobs, MetricRegistry& metrics);
  ~Scrubber();

 private:
  void Run();
  void ScrubAll();
  void LogCorrupt();

  const ScrubberOptions options_;
  FileBlobStore& blobs_;
  CounterFamily& scrubbed_bytes_;
  std::set<std::string> logged_;  // The thread's own.
  StopSignal stop_;
  std::thread thread_;
};

}  // namespace graft
