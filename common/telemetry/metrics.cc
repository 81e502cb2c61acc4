#include "common/telemetry/metrics.h"

#include <cstdio>
#include <cstdlib>
#include <type_traits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/utf8.h"
#include "prometheus/text_serializer.h"

namespace graft {
namespace {

[[noreturn]] void DieOfBadMetric(const std::string& name, absl::string_view why) {
  std::fprintf(stderr, "metric %s: %s\n", name.c_str(), std::string(why).c_str());
  std::abort();
}

void CheckName(const std::string& name, bool is_counter) {
  if (!absl::StartsWith(name, "graft_") && !absl::StartsWith(name, "process_")) {
    DieOfBadMetric(name, "begins neither with graft_ nor with process_");
  }
  if (absl::EndsWith(name, "_total") != is_counter) {
    DieOfBadMetric(name, "counters, and only counters, end in _total");
  }
  for (const char c : name) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '_') {
      DieOfBadMetric(name, "only [a-z0-9_] is allowed");
    }
  }
}

}  // namespace

template <typename T>
template <typename Apply>
void MetricFamily<T>::With(const LabelValues& labels, const Apply& apply) {
  if (labels.size() != label_names_.size()) {
    DieOfBadMetric(label_names_.empty() ? "" : label_names_[0], "wrong number of label values");
  }
  LabelValues key = labels;
  for (std::string& value : key) {
    value = Shortened(value, kMaxSeriesLabelBytes);
  }
  MutexLock lock(mutex_);
  auto it = series_.find(key);
  if (it == series_.end()) {
    if (series_.size() >= kMaxSeriesPerFamily) key.assign(key.size(), "other");
    prometheus::Labels named;
    for (size_t i = 0; i < key.size(); ++i) named[label_names_[i]] = key[i];
    // Add answers the series that is there when its labels are known already.
    if constexpr (std::is_same_v<T, prometheus::Histogram>) {
      it = series_.emplace(key, &family_.Add(named, buckets_)).first;
    } else {
      it = series_.emplace(key, &family_.Add(named)).first;
    }
  }
  apply(*it->second);
}

template <typename T>
void MetricFamily<T>::Add(const LabelValues& labels, double amount) {
  if constexpr (!std::is_same_v<T, prometheus::Histogram>) {
    With(labels, [&](T& series) { series.Increment(amount); });
  }
}

template <typename T>
void MetricFamily<T>::Set(const LabelValues& labels, double value) {
  if constexpr (std::is_same_v<T, prometheus::Gauge>) {
    With(labels, [&](T& series) { series.Set(value); });
  }
}

template <typename T>
void MetricFamily<T>::Observe(const LabelValues& labels, double value) {
  if constexpr (std::is_same_v<T, prometheus::Histogram>) {
    With(labels, [&](T& series) { series.Observe(value); });
  }
}

template <typename T>
void MetricFamily<T>::RemoveWhere(absl::string_view name, absl::string_view value) {
  size_t index = 0;
  while (index < label_names_.size() && label_names_[index] != name) ++index;
  if (index == label_names_.size()) return;
  MutexLock lock(mutex_);
  for (auto it = series_.begin(); it != series_.end();) {
    if (it->first[index] == value) {
      family_.Remove(it->second);
      it = series_.erase(it);
    } else {
      ++it;
    }
  }
}

template <typename T>
void MetricFamily<T>::Clear() {
  MutexLock lock(mutex_);
  for (const auto& [labels, series] : series_) family_.Remove(series);
  series_.clear();
}

template <typename T>
size_t MetricFamily<T>::size() const {
  MutexLock lock(mutex_);
  return series_.size();
}

template class MetricFamily<prometheus::Counter>;
template class MetricFamily<prometheus::Gauge>;
template class MetricFamily<prometheus::Histogram>;

std::vector<double> LatencyBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}

std::vector<double> WaitBuckets() { return {0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, 3600}; }

class MetricRegistry::Scraped : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    MutexLock lock(mutex_);
    for (const auto& refresh : refreshes) refresh();
    std::vector<prometheus::MetricFamily> families = registry.Collect();
    // A family without series would be HELP and TYPE lines alone.
    std::erase_if(families,
                  [](const prometheus::MetricFamily& family) { return family.metric.empty(); });
    return families;
  }

  prometheus::Registry registry;
  std::vector<std::function<void()>> refreshes;

 private:
  // One scrape must not see the series that another has just taken away to set them anew.
  mutable Mutex mutex_;
};

MetricRegistry::MetricRegistry() : scraped_(std::make_shared<Scraped>()) {}
MetricRegistry::~MetricRegistry() = default;

template <typename T, typename Builder>
MetricFamily<T>& MetricRegistry::Register(
    const std::string& name, const std::string& help, std::vector<std::string> label_names,
    std::vector<double> buckets, std::map<std::string, std::unique_ptr<MetricFamily<T>>>& families,
    const Builder& builder) {
  CheckName(name, std::is_same_v<T, prometheus::Counter>);
  if (families.count(name) > 0) DieOfBadMetric(name, "registered twice");
  prometheus::Family<T>& family = builder().Name(name).Help(help).Register(scraped_->registry);
  auto& entry = families[name];
  entry = std::make_unique<MetricFamily<T>>(family, std::move(label_names), std::move(buckets));
  return *entry;
}

CounterFamily& MetricRegistry::AddCounter(const std::string& name, const std::string& help,
                                          std::vector<std::string> label_names) {
  const bool one_series = label_names.empty();
  MutexLock lock(mutex_);
  CounterFamily& counter = Register<prometheus::Counter>(name, help, std::move(label_names), {},
                                                         counters_, prometheus::BuildCounter);
  if (one_series) counter.Add({}, 0);
  return counter;
}

GaugeFamily& MetricRegistry::AddGauge(const std::string& name, const std::string& help,
                                      std::vector<std::string> label_names) {
  MutexLock lock(mutex_);
  return Register<prometheus::Gauge>(name, help, std::move(label_names), {}, gauges_,
                                     prometheus::BuildGauge);
}

HistogramFamily& MetricRegistry::AddHistogram(const std::string& name, const std::string& help,
                                              std::vector<std::string> label_names,
                                              std::vector<double> buckets) {
  MutexLock lock(mutex_);
  return Register<prometheus::Histogram>(name, help, std::move(label_names), std::move(buckets),
                                         histograms_, prometheus::BuildHistogram);
}

void MetricRegistry::OnScrape(std::function<void()> refresh) {
  scraped_->refreshes.push_back(std::move(refresh));
}

std::string MetricRegistry::Text() {
  return prometheus::TextSerializer().Serialize(scraped_->Collect());
}

std::shared_ptr<prometheus::Collectable> MetricRegistry::collectable() { return scraped_; }

}  // namespace graft
