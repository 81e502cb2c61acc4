#include "client/cli/proto_fields.h"

#include <gmock/gmock.h>

#include "common/jobs/timestamps.h"
#include "graft/v1/job.pb.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

TEST(ParseMomentTest, ASpanIsFromNow) {
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  EXPECT_EQ(*ParseMoment("8h", now), now + absl::Hours(8));
  EXPECT_EQ(*ParseMoment("1h30m", now), now + absl::Minutes(90));
}

TEST(ParseMomentTest, ADateIsOfThisMachineUnlessItSaysOtherwise) {
  const absl::Time now;
  const absl::Time eight =
      absl::FromCivil(absl::CivilSecond(2026, 11, 28, 8), absl::LocalTimeZone());
  for (const char* text : {"2026-11-28 08:00", "2026-11-28T08:00", "2026-11-28 08:00:00"}) {
    const auto moment = ParseMoment(text, now);
    ASSERT_TRUE(moment.ok()) << moment.status();
    EXPECT_EQ(*moment, eight) << text;
  }
  EXPECT_EQ(*ParseMoment("2026-11-28T08:00:00+01:00", now),
            absl::FromCivil(absl::CivilSecond(2026, 11, 28, 7), absl::UTCTimeZone()));
}

TEST(ParseMomentTest, AnythingElseIsRefusedWithExamples) {
  for (const char* text : {"", "soon", "-8h", "0s", "8", "28.11.2026", "2026-13-01 08:00"}) {
    const absl::Status status = ParseMoment(text, absl::FromUnixSeconds(0)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(status.message(), HasSubstr("is not a moment such as 8h")) << text;
  }
}

TEST(SetFieldTest, AMomentIsATimestamp) {
  v1::Job job;
  ASSERT_TRUE(SetField(job, "deadline", "2026-11-28T08:00:00Z").ok());
  EXPECT_EQ(FromTimestamp(job.deadline()),
            absl::FromCivil(absl::CivilSecond(2026, 11, 28, 8), absl::UTCTimeZone()));
}

}  // namespace
}  // namespace graft
