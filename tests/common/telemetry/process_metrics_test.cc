#include "common/telemetry/process_metrics.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::map<std::string, double> Samples(MetricRegistry& registry) {
  std::map<std::string, double> samples;
  const std::string text = registry.Text();
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (absl::StartsWith(line, "#")) continue;
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, ' ');
    double value = 0;
    EXPECT_TRUE(absl::SimpleAtod(parts.second, &value)) << line;
    samples[parts.first] = value;
  }
  return samples;
}

TEST(ProcessMetricsTest, TellsOfThisProcess) {
  MetricRegistry registry;
  ExposeProcess(registry, "1.2.3+abc");
  const std::map<std::string, double> before = Samples(registry);
  EXPECT_EQ(before.at("graft_build_info{version=\"1.2.3+abc\"}"), 1);
  EXPECT_GT(before.at("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(before.at("process_virtual_memory_bytes"), before.at("process_resident_memory_bytes"));
  EXPECT_GE(before.at("process_threads"), 1);
  rlimit limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(before.at("process_max_fds"), limit.rlim_cur);
  const auto now = static_cast<double>(absl::ToUnixSeconds(absl::Now()));
  EXPECT_NEAR(before.at("process_start_time_seconds"), now, 3600);

  // What it opens and computes shows.
  const auto file = OpenFile("/dev/null", O_RDONLY);
  ASSERT_TRUE(file.ok());
  rusage usage = {};
  while (usage.ru_utime.tv_sec == 0 && usage.ru_utime.tv_usec < 100'000) {
    ASSERT_EQ(::getrusage(RUSAGE_SELF, &usage), 0);
  }
  const std::map<std::string, double> after = Samples(registry);
  EXPECT_EQ(after.at("process_open_fds"), before.at("process_open_fds") + 1);
  EXPECT_GE(after.at("process_cpu_seconds_total"), 0.08);
  // Each tick is counted once.
  EXPECT_GT(1.5 * after.at("process_cpu_seconds_total"),
            Samples(registry).at("process_cpu_seconds_total"));
}

TEST(ProcessMetricsTest, ReadsAStatOfAnyName) {
  // Fields 4 to 24 hold their own numbers.
  std::string fields = "S";
  for (int i = 4; i <= 24; ++i) absl::StrAppend(&fields, " ", i);
  const auto stat = ParseProcessStat("77 (a (strange) na) me) " + fields + " 25\n");
  ASSERT_TRUE(stat.ok()) << stat.status();
  EXPECT_EQ(stat->cpu_ticks, 14 + 15);
  EXPECT_EQ(stat->threads, 20);
  EXPECT_EQ(stat->start_ticks, 22);
  EXPECT_EQ(stat->virtual_bytes, 23);
  EXPECT_EQ(stat->resident_pages, 24);
  for (const char* broken : {"", "77 (a) S 4 5 6", "77 a S 1"}) {
    EXPECT_EQ(ParseProcessStat(broken).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(ProcessMetricsTest, EachFileSystemIsShownOnce) {
  const TempDir directory;
  MetricRegistry registry;
  ExposeFilesystems(registry, {directory.path(), "/nowhere", directory.path() + "/.", "/proc"});
  const std::map<std::string, double> samples = Samples(registry);
  const auto of = [&samples](const std::string& name, const std::string& path) {
    return samples.at(absl::StrCat("graft_filesystem_", name, "_bytes{directory=\"", path, "\"}"));
  };
  EXPECT_GT(of("size", directory.path()), 1e6);
  EXPECT_GT(of("free", directory.path()), 0);
  EXPECT_LT(of("free", directory.path()), of("size", directory.path()));
  EXPECT_EQ(of("size", "/proc"), 0);
  EXPECT_EQ(samples.size(), 4u);
  EXPECT_THAT(registry.Text(), Not(HasSubstr("/nowhere")));
}

}  // namespace
}  // namespace graft
