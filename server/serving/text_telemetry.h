#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/telemetry/metrics.h"

namespace graft {

// Adapters that /metrics tells apart: the first ones of which texts were asked for. All others are
// "other".
inline constexpr size_t kMaxAdaptersInTelemetry = 100;

// What /metrics shows of texts, by adapter; that of the untuned model is "". Thread-safe.
class TextTelemetry {
 public:
  explicit TextTelemetry(MetricRegistry& registry);

  void OnFirstToken(const std::string& adapter, absl::Duration since_request);
  void OnTokens(const std::string& adapter, int64_t tokens);
  // A text of two tokens or more has ended: from its first one to its last, and how many came
  // after the first.
  void OnEnd(const std::string& adapter, absl::Duration time, int64_t tokens);
  // Texts that wait now.
  void ShowWaiting(const std::map<std::string, size_t>& by_adapter);

 private:
  std::string LabelOf(const std::string& adapter) ABSL_LOCKS_EXCLUDED(mutex_);

  CounterFamily& tokens_;
  HistogramFamily& first_token_seconds_;
  HistogramFamily& token_seconds_;
  GaugeFamily& waiting_;
  Mutex mutex_;
  std::set<std::string> adapters_ ABSL_GUARDED_BY(mutex_);  // With a label of their own.
};

}  // namespace graft
