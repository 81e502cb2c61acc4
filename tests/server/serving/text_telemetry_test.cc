#include "server/serving/text_telemetry.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(TextTelemetryTest, FurtherAdaptersAreOthers) {
  MetricRegistry registry;
  TextTelemetry telemetry(registry);
  for (size_t i = 0; i < kMaxAdaptersInTelemetry + 3; ++i) {
    telemetry.OnTokens(absl::StrCat("adapter-", i), 1);
  }
  telemetry.OnTokens("adapter-0", 4);
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("graft_generate_tokens_total{adapter=\"\"} 0")) << "the untuned one";
  EXPECT_THAT(text, HasSubstr("graft_generate_tokens_total{adapter=\"adapter-0\"} 5"));
  EXPECT_THAT(text, HasSubstr("graft_generate_tokens_total{adapter=\"other\"} 4"));
  EXPECT_THAT(text, Not(HasSubstr(absl::StrCat("adapter-", kMaxAdaptersInTelemetry + 1))));
}

TEST(TextTelemetryTest, NobodyWaitsWhoIsNotThere) {
  MetricRegistry registry;
  TextTelemetry telemetry(registry);
  telemetry.ShowWaiting({{"a", 3}});
  EXPECT_THAT(registry.Text(), HasSubstr("graft_generate_queue_requests{adapter=\"a\"} 3"));
  telemetry.ShowWaiting({});
  EXPECT_THAT(registry.Text(), HasSubstr("graft_generate_queue_requests{adapter=\"a\"} 0"));
}

}  // namespace
}  // namespace graft
