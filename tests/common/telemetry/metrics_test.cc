#include "common/telemetry/metrics.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MetricsTest, CountersGaugesAndHistogramsAppearWithTheirLabels) {
  MetricRegistry registry;
  registry.AddCounter("graft_calls_total", "Calls.", {"method", "code"}).Add({"GetJob", "OK"}, 2);
  registry.AddGauge("graft_jobs", "Jobs.", {"state"}).Set({"RUNNING"}, 3);
  registry.AddHistogram("graft_call_seconds", "Time of calls.", {}, {0.1, 1}).Observe({}, 0.5);

  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("graft_calls_total{code=\"OK\",method=\"GetJob\"} 2"));
  EXPECT_THAT(text, HasSubstr("graft_jobs{state=\"RUNNING\"} 3"));
  EXPECT_THAT(text, HasSubstr("graft_call_seconds_bucket{le=\"0.1\"} 0"));
  EXPECT_THAT(text, HasSubstr("graft_call_seconds_bucket{le=\"1\"} 1"));
}

TEST(MetricsTest, ACounterWithoutLabelsIsThereFromTheBeginning) {
  MetricRegistry registry;
  registry.AddCounter("graft_crashes_total", "Crashes.");
  EXPECT_THAT(registry.Text(), HasSubstr("graft_crashes_total 0"));
}

TEST(MetricsTest, SeriesOfAJobAreDroppedAndTheOthersStay) {
  MetricRegistry registry;
  GaugeFamily& loss = registry.AddGauge("graft_job_loss_nats", "Loss.", {"job", "split"});
  loss.Set({"jobs/a", "train"}, 1);
  loss.Set({"jobs/a", "eval"}, 2);
  loss.Set({"jobs/b", "train"}, 3);
  loss.RemoveWhere("job", "jobs/a");
  EXPECT_THAT(registry.Text(), Not(HasSubstr("jobs/a")));
  EXPECT_THAT(registry.Text(), HasSubstr("jobs/b"));
}

TEST(MetricsTest, SeriesOfAFamilyAreBounded) {
  MetricRegistry registry;
  CounterFamily& family = registry.AddCounter("graft_things_total", "Things.", {"name"});
  for (size_t i = 0; i < kMaxSeriesPerFamily + 50; ++i) family.Add({absl::StrCat("n", i)});
  EXPECT_EQ(family.size(), kMaxSeriesPerFamily + 1);
  EXPECT_THAT(registry.Text(), HasSubstr("graft_things_total{name=\"other\"} 50"));
}

TEST(MetricsTest, AScrapeNeverSeesWhatAnotherIsSettingAnew) {
  MetricRegistry registry;
  GaugeFamily& gauge = registry.AddGauge("graft_jobs", "Jobs.", {"state"});
  registry.OnScrape([&] {
    gauge.Clear();
    for (int i = 0; i < 50; ++i) std::this_thread::yield();  // To another that is collecting.
    gauge.Set({"QUEUED"}, 1);
  });
  std::vector<std::thread> scrapers;
  std::atomic<int> torn = 0;
  for (int t = 0; t < 4; ++t) {
    scrapers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        if (!absl::StrContains(registry.Text(), "{state=\"QUEUED\"}")) ++torn;
      }
    });
  }
  for (std::thread& scraper : scrapers) scraper.join();
  EXPECT_EQ(torn, 0);
}

TEST(MetricsTest, RefreshRunsBeforeEachScrape) {
  MetricRegistry registry;
  GaugeFamily& gauge = registry.AddGauge("graft_queue_jobs", "Queued.", {});
  int scrapes = 0;
  registry.OnScrape([&] { gauge.Set({}, ++scrapes); });
  EXPECT_THAT(registry.Text(), HasSubstr("graft_queue_jobs 1"));
  EXPECT_THAT(registry.Text(), HasSubstr("graft_queue_jobs 2"));
}

TEST(MetricsDeathTest, ACounterWithoutTotalIsRefused) {
  MetricRegistry registry;
  EXPECT_DEATH(registry.AddCounter("graft_calls", "Calls.", {}), "_total");
}

}  // namespace
}  // namespace graft
