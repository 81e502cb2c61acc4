// JobService.PurgeJobs over gRPC.

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PurgeJobsTest : public ::testing::Test {
 protected:
  std::string Cancelled() {
    const std::string name = server_.Create(LoraJob())->name();
    EXPECT_TRUE(server_.Cancel(name).ok());
    return name;
  }
  absl::StatusOr<v1::PurgeJobsResponse> Purge(const std::string& filter, bool force,
                                              const std::string& request_id = "") {
    v1::PurgeJobsRequest request;
    request.set_filter(filter);
    request.set_force(force);
    request.set_request_id(request_id);
    v1::PurgeJobsResponse response;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(server_.jobs().PurgeJobs(context.get(), request, &response));
    if (!status.ok()) return status;
    return response;
  }

  TestServer server_;
};

TEST_F(PurgeJobsTest, WithoutForceItOnlySaysWhatWouldBeDeleted) {
  const std::string cancelled = Cancelled();
  const std::string queued = server_.Create(LoraJob())->name();
  EXPECT_THAT(Purge("done = true", false)->purge_sample(), ElementsAre(cancelled));
  EXPECT_TRUE(server_.Get(cancelled).ok());
  const auto purged = Purge("study = \"\"", true);
  ASSERT_TRUE(purged.ok()) << purged.status();
  EXPECT_EQ(purged->purge_count(), 1);
  EXPECT_EQ(server_.Get(cancelled).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(server_.Get(queued).ok());
}

TEST_F(PurgeJobsTest, LogsGoWithTheirJobs) {
  const std::string id = Cancelled().substr(5);
  ASSERT_TRUE(server_.logs().Append({id, 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "words").ok());
  ASSERT_TRUE(Purge("done = true", false).ok());
  EXPECT_THAT(*server_.logs().JobIds(), SizeIs(1));
  ASSERT_TRUE(Purge("done = true", true).ok());
  EXPECT_THAT(*server_.logs().JobIds(), IsEmpty());
}

TEST_F(PurgeJobsTest, AFilterIsRequiredAndMustMakeSense) {
  Cancelled();
  for (const char* filter : {"", "  ", "colour = red", "end_time < \"2026-11-01\"", "study < s"}) {
    const absl::Status refused = Purge(filter, true).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << filter;
    ASSERT_THAT(FieldViolationsOf(refused), SizeIs(1));
    EXPECT_EQ(FieldViolationsOf(refused)[0].field(), "filter");
  }
  EXPECT_EQ(Purge("done = true", true, std::string(1000, 'r')).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Purge("done = true", false)->purge_count(), 1);
}

TEST_F(PurgeJobsTest, TheSameRequestIsAnsweredOnce) {
  Cancelled();
  const auto first = Purge("done = true", true, "once");
  Cancelled();
  EXPECT_EQ(Purge("done = true", true, "once")->SerializeAsString(), first->SerializeAsString());
  EXPECT_EQ(ReasonOf(Purge("done = true", false, "once").status()), "")
      << "what deletes nothing keeps no answer";
  EXPECT_EQ(ReasonOf(Purge("state = CANCELLED", true, "once").status()), kReasonRequestIdReused);
  EXPECT_EQ(Purge("done = true", false)->purge_count(), 1);
}

}  // namespace
}  // namespace graft
