#pragma once

// Telemetry that Prometheus scrapes: named families of counters, gauges and histograms.
//
// Names are `graft_<noun>_<unit>[_total]` in base units (seconds, bytes), or Prometheus' own
// process_… of process_metrics.h. Labels are bounded: a
// family holds at most kMaxSeriesPerFamily series; what would be one more goes to the series whose
// label values are all "other". A label whose values are jobs belongs only on series that are
// removed soon after the job's end (RemoveWhere).
//
// A *metric* of a job (train/loss) is a training number and lives in the event log; here are only
// the copies that /metrics shows.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace graft {

inline constexpr size_t kMaxSeriesPerFamily = 1000;
// Longer label values are cut.
inline constexpr size_t kMaxSeriesLabelBytes = 128;

// The series of one name. Thread-safe. Label values are given in the order of the family's label
// names, as many as these; another number is a bug of ours and aborts.
template <typename T>
class MetricFamily {
 public:
  using LabelValues = std::vector<std::string>;

  MetricFamily(prometheus::Family<T>& family, std::vector<std::string> label_names,
               std::vector<double> buckets)
      : family_(family), label_names_(std::move(label_names)), buckets_(std::move(buckets)) {}
  MetricFamily(const MetricFamily&) = delete;

  // Counters.
  void Add(const LabelValues& labels, double amount = 1);
  // Gauges.
  void Set(const LabelValues& labels, double value);
  // Histograms.
  void Observe(const LabelValues& labels, double value);

  // Removes every series whose label `name` has this value.
  void RemoveWhere(absl::string_view name, absl::string_view value);
  // Removes all series: before a gauge that mirrors a table is filled again.
  void Clear();
  size_t size() const;

 private:
  // `apply` runs under the lock, so that no series is removed meanwhile.
  template <typename Apply>
  void With(const LabelValues& labels, const Apply& apply);

  prometheus::Family<T>& family_;
  const std::vector<std::string> label_names_;
  const std::vector<double> buckets_;
  mutable Mutex mutex_;
  std::map<LabelValues, T*> series_ ABSL_GUARDED_BY(mutex_);
};

using CounterFamily = MetricFamily<prometheus::Counter>;
using GaugeFamily = MetricFamily<prometheus::Gauge>;
using HistogramFamily = MetricFamily<prometheus::Histogram>;

// 1 ms to 60 s, for calls and waits.
std::vector<double> LatencyBuckets();
// 10 ms to an hour, for waits of jobs.
std::vector<double> WaitBuckets();

// All families of a process. Thread-safe; families live as long as the registry. A name that breaks
// the rules above, or one given twice, is a bug of ours and aborts.
class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();

  // `name` ends in "_total". Without labels it is there, as 0, at once: Prometheus' increase() does
  // not see the step from no series to 1.
  CounterFamily& AddCounter(const std::string& name, const std::string& help,
                            std::vector<std::string> label_names = {});
  GaugeFamily& AddGauge(const std::string& name, const std::string& help,
                        std::vector<std::string> label_names = {});
  // `buckets`: upper bounds, growing.
  HistogramFamily& AddHistogram(const std::string& name, const std::string& help,
                                std::vector<std::string> label_names, std::vector<double> buckets);

  // `refresh` runs before every scrape, on the scraping thread, one scrape at a time: for gauges
  // that mirror a table. It may block shortly. Must be called before the registry is exposed; what
  // it refers to must outlive the exposer.
  void OnScrape(std::function<void()> refresh);

  // What /metrics answers (text format 0.0.4).
  std::string Text();
  // For the exposer: refreshes, then collects.
  std::shared_ptr<prometheus::Collectable> collectable();

 private:
  class Scraped;
  template <typename T, typename Builder>
  MetricFamily<T>& Register(const std::string& name, const std::string& help,
                            std::vector<std::string> label_names, std::vector<double> buckets,
                            std::map<std::string, std::unique_ptr<MetricFamily<T>>>& families,
                            const Builder& builder);

  const std::shared_ptr<Scraped> scraped_;
  Mutex mutex_;
  std::map<std::string, std::unique_ptr<CounterFamily>> counters_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::unique_ptr<GaugeFamily>> gauges_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::unique_ptr<HistogramFamily>> histograms_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace graft
