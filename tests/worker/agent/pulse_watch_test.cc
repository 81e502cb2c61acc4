#include "worker/agent/pulse_watch.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

constexpr absl::Duration kLeast = absl::Minutes(5);
constexpr absl::Duration kBegin = absl::Seconds(1000);

TEST(PulseWatchTest, WhatDoesNothingHangsAfterTheLeastTime) {
  const PulseWatch watch(kLeast, kBegin);
  EXPECT_EQ(watch.HangsAt(), kBegin + kLeast);
}

TEST(PulseWatchTest, ASlowPhaseHasTwentyTimesItsMedian) {
  PulseWatch watch(kLeast, kBegin);
  absl::Duration now = kBegin;
  for (const int64_t seconds : {60, 60, 60, 3600, 60, 60}) {
    watch.Beat(1, now += absl::Seconds(seconds));
  }
  EXPECT_EQ(watch.HangsAt(), now + 20 * absl::Seconds(60));
}

TEST(PulseWatchTest, AFastPhaseHasTheLeastTime) {
  PulseWatch watch(kLeast, kBegin);
  absl::Duration now = kBegin;
  for (int i = 0; i < 500; ++i) watch.Beat(1, now += absl::Seconds(1));
  EXPECT_EQ(watch.HangsAt(), now + kLeast);
}

TEST(PulseWatchTest, ANewPhaseBeginsAnew) {
  PulseWatch watch(kLeast, kBegin);
  absl::Duration now = kBegin;
  for (int i = 0; i < 5; ++i) watch.Beat(1, now += absl::Hours(1));
  watch.Beat(2, now += absl::Hours(1));
  EXPECT_EQ(watch.HangsAt(), now + kLeast);
}

TEST(PulseWatchTest, WaitingDoesNotCount) {
  PulseWatch watch(kLeast, kBegin);
  watch.Beat(1, kBegin);
  watch.SetWaiting(true, kBegin + absl::Minutes(1));
  EXPECT_EQ(watch.HangsAt(), absl::InfiniteDuration());
  watch.SetWaiting(true, kBegin + absl::Minutes(30));
  watch.SetWaiting(false, kBegin + absl::Hours(1));
  EXPECT_EQ(watch.HangsAt(), kBegin + absl::Hours(1) + kLeast - absl::Minutes(1));
}

TEST(PulseWatchTest, TheMedianIsThatOfTheLastBeats) {
  PulseWatch watch(kLeast, kBegin);
  absl::Duration now = kBegin;
  for (int i = 0; i < 200; ++i) watch.Beat(1, now += absl::Hours(1));
  for (int i = 0; i < 101; ++i) watch.Beat(1, now += absl::Minutes(1));
  EXPECT_EQ(watch.HangsAt(), now + absl::Minutes(20));
}

}  // namespace
}  // namespace graft
