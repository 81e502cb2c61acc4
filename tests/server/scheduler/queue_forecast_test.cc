#include "server/scheduler/queue_forecast.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::optional<absl::Duration> kUnknown = std::nullopt;

std::optional<absl::Duration> In(double seconds) { return absl::Seconds(seconds); }

// A job that every one of `workers` can do in so many seconds, and the others of three cannot.
ForecastJob Job(const std::vector<size_t>& workers, std::optional<absl::Duration> takes,
                absl::Duration not_before = absl::ZeroDuration()) {
  ForecastJob job;
  job.workers.resize(3);
  for (const size_t worker : workers) job.workers[worker] = ForecastJob::Run{takes};
  job.not_before = not_before;
  return job;
}

TEST(QueueForecastTest, JobsTakeTheSlotsThatAreFreeFirstInTheOrderOfTheQueue) {
  EXPECT_THAT(ForecastStarts({{0, In(100)}, {1, In(30)}}, {Job({0, 1}, In(50)), Job({0, 1}, In(40)),
                                                           Job({0, 1}, In(1)), Job({0, 1}, In(1))}),
              ElementsAre(In(30), In(80), In(100), In(101)));
}

TEST(QueueForecastTest, WhereNoEndIsKnownNoStartIs) {
  EXPECT_THAT(ForecastStarts({{0, kUnknown}}, {Job({0}, In(1))}), ElementsAre(kUnknown));
  EXPECT_THAT(ForecastStarts({}, {Job({0}, In(1))}), ElementsAre(kUnknown));
  EXPECT_THAT(ForecastStarts({{0, In(5)}}, {Job({1}, In(1))}), ElementsAre(kUnknown));
  EXPECT_THAT(ForecastStarts({{0, In(5)}}, {}), IsEmpty());
  // The first will have the slot for nobody knows how long.
  EXPECT_THAT(ForecastStarts({{0, In(5)}}, {Job({0}, kUnknown), Job({0}, In(1))}),
              ElementsAre(In(5), kUnknown));
  // Another slot whose end is not known may be free earlier; this one is then.
  EXPECT_THAT(ForecastStarts({{0, kUnknown}, {1, In(9)}}, {Job({0, 1}, In(1))}),
              ElementsAre(In(9)));
}

TEST(QueueForecastTest, AJobThatMayNotRunYetLetsOthersGoBefore) {
  EXPECT_THAT(ForecastStarts({{0, In(0)}}, {Job({0}, In(10), absl::Seconds(20)), Job({0}, In(25)),
                                            Job({0}, In(1))}),
              ElementsAre(In(25), In(0), In(35)));
}

TEST(QueueForecastTest, AJobTakesAWorkerThatCanDoIt) {
  EXPECT_THAT(ForecastStarts({{0, In(0)}, {1, In(7)}, {2, In(3)}},
                             {Job({1}, In(2)), Job({1, 2}, In(1)), Job({1}, In(1))}),
              ElementsAre(In(7), In(3), In(9)));
}

}  // namespace
}  // namespace graft
