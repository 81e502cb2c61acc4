#include "server/process/scrubber.h"

#include <pthread.h>

#include <algorithm>
#include <vector>

#include "absl/random/random.h"
#include "common/telemetry/log.h"

namespace graft {

Scrubber::Scrubber(const ScrubberOptions& options, FileBlobStore& blobs, MetricRegistry& metrics)
    : options_(options),
      blobs_(blobs),
      scrubbed_bytes_(metrics.AddCounter("graft_scrubbed_bytes_total",
                                         "Bytes of blobs read to see that they are whole.")),
      stop_(*options.clock) {
  GaugeFamily& corrupt = metrics.AddGauge(
      "graft_corrupt_blobs", "Blobs whose bytes are not what their name says, as far as known.");
  metrics.OnScrape(
      [&corrupt, &blobs] { corrupt.Set({}, static_cast<double>(blobs.Corrupt().size())); });
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "scrubber");
}

Scrubber::~Scrubber() {
  stop_.Stop();
  thread_.join();
}

void Scrubber::Run() {
  absl::Duration next_round = options_.clock->Boottime() + options_.interval;
  while (!stop_.WaitFor(options_.interval)) {
    if (options_.clock->Boottime() >= next_round) {
      next_round = options_.clock->Boottime() + options_.round;
      ScrubAll();
    }
    LogCorrupt();
  }
}

void Scrubber::ScrubAll() {
  std::vector<std::string> blobs;
  const absl::Status listed = blobs_.ForEach([&](const BlobInfo& blob) {
    blobs.push_back(blob.sha256);
    return true;
  });
  if (!listed.ok()) {
    Log(LogLevel::kWarning, "cannot list the blobs to scrub", {{"error", listed.ToString()}});
  }
  std::sort(blobs.begin(), blobs.end());
  if (!blobs.empty()) {
    absl::BitGen random;
    const auto first = absl::Uniform(random, size_t{0}, blobs.size());
    std::rotate(blobs.begin(), blobs.begin() + static_cast<ptrdiff_t>(first), blobs.end());
  }
  absl::Duration free_at = options_.clock->Boottime();
  const HashPace pace = [&](int64_t bytes) {
    scrubbed_bytes_.Add({}, static_cast<double>(bytes));
    // What was not read while the machine slept is not made up for.
    free_at =
        std::max(free_at, options_.clock->Boottime()) +
        absl::Seconds(static_cast<double>(bytes) / static_cast<double>(options_.bytes_per_second));
    return !stop_.WaitUntil(free_at);
  };
  for (const std::string& sha256 : blobs) {
    if (stop_.stopped()) return;
    const absl::Status status = blobs_.Scrub(sha256, pace);
    LogCorrupt();
    // Deleted meanwhile, stopped, or told.
    if (status.ok() || absl::IsNotFound(status) || absl::IsCancelled(status) ||
        absl::IsDataLoss(status)) {
      continue;
    }
    Log(LogLevel::kWarning, "cannot scrub a blob",
        {{"sha256", sha256}, {"error", status.ToString()}});
  }
}

void Scrubber::LogCorrupt() {
  const std::vector<std::string> corrupt = blobs_.Corrupt();
  for (const std::string& sha256 : corrupt) {
    if (logged_.count(sha256) > 0) continue;
    Log(LogLevel::kError,
        "a blob is corrupt: it is not used; uploading the same file again mends it",
        {{"sha256", sha256}});
  }
  logged_ = {corrupt.begin(), corrupt.end()};  // One that rots again is told again.
}

}  // namespace graft
