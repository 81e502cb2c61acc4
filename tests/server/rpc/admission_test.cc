#include "server/rpc/admission.h"

#include <string>

#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// Refused, with a reason, a time to try again and this bound.
void ExpectRefused(const absl::Status& status, const std::string& bound) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(status), kReasonQueueFull);
  EXPECT_GT(RetryDelayOf(status), absl::ZeroDuration());
  EXPECT_THAT(std::string(status.message()), HasSubstr(bound));
}

TEST(AdmissionTest, OneConnectionHasNoMoreStreamsThanItsShare) {
  Admission admission({});
  for (size_t i = 0; i < kMaxStreamsOfPeer; ++i) ASSERT_TRUE(admission.BeginStream("a").ok());
  ExpectRefused(admission.BeginStream("a"), "this connection has 512");
  EXPECT_TRUE(admission.BeginStream("b").ok());
  admission.EndStream("a");
  EXPECT_TRUE(admission.BeginStream("a").ok());
}

TEST(AdmissionTest, TheLastStreamsAreForThoseWhoHaveFew) {
  Admission admission({});
  const size_t common = kMaxUserStreams - kReservedUserStreams;
  for (size_t i = 0; i < common; ++i) {
    ASSERT_TRUE(admission.BeginStream("crowd" + std::to_string(i / kMaxStreamsOfPeer)).ok());
  }
  ExpectRefused(admission.BeginStream("crowd0"), "this connection has 512");
  for (size_t i = 0; i < kFewStreams; ++i) EXPECT_TRUE(admission.BeginStream("new").ok());
  ExpectRefused(admission.BeginStream("new"), "the last 512 are for connections with fewer than 8");
  for (size_t i = kFewStreams; i < kReservedUserStreams; ++i) {
    ASSERT_TRUE(admission.BeginStream("other" + std::to_string(i)).ok());
  }
  ExpectRefused(admission.BeginStream("one more"), "the users have 4096 open");
  admission.EndStream("new");
  EXPECT_TRUE(admission.BeginStream("one more").ok());
}

TEST(AdmissionTest, WorkersShareTheirStreamsWithoutShares) {
  Admission admission(WorkerLimits());
  for (size_t i = 0; i < kMaxWorkerStreams; ++i) ASSERT_TRUE(admission.BeginStream("unix:").ok());
  ExpectRefused(admission.BeginStream("unix:"), "the workers have 1024 open");
}

TEST(AdmissionTest, MessagesThatWaitAreBoundedTogether) {
  Admission admission({});
  ASSERT_TRUE(admission.TakeBytes(kMaxUserBufferBytes - 10).ok());
  EXPECT_TRUE(admission.TakeBytes(10).ok());
  ExpectRefused(admission.TakeBytes(1), std::to_string(kMaxUserBufferBytes));
  EXPECT_TRUE(admission.TakeBytes(0).ok());
  admission.ReturnBytes(10);
  EXPECT_TRUE(admission.TakeBytes(1).ok());
  EXPECT_EQ(kMaxUserBufferBytes + kMaxWorkerBufferBytes, int64_t{256} << 20);
}

}  // namespace
}  // namespace graft
