#include "server/operations/operations.h"

#include "gmock/gmock.h"
#include "tests/server/operations/data_fixture.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class OperationsTest : public ::testing::Test {
 protected:
  absl::Status BackUp(const std::string& to, const OperationProgress& progress = GoOn) {
    admin::v1::BackUpRequest request;
    request.set_to(to);
    return operations_.MakeBackup(request, progress).status();
  }

  const TempDir directory_;
  DataFixture server_{directory_.Path("data")};
  Operations operations_{
      {server_.store(), server_.blobs(), server_.logs(), server_.uri(), server_.artifacts()}};
};

TEST_F(OperationsTest, OneBackupAtATime) {
  absl::Status second;
  const auto begin_another = [&](const admin::v1::Progress&) {
    second.Update(BackUp(directory_.Path("second")));
    return true;
  };
  EXPECT_TRUE(BackUp(directory_.Path("first"), begin_another).ok());
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.message()), HasSubstr(directory_.Path("first")));
  EXPECT_TRUE(BackUp(directory_.Path("second")).ok());
}

TEST_F(OperationsTest, APathIsTheServersOwn) {
  EXPECT_TRUE(absl::IsInvalidArgument(BackUp("backup")));
}

TEST_F(OperationsTest, ACheckNamesBothIds) {
  const auto report = operations_.Check({}, GoOn);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->store(), server_.uri());
  EXPECT_EQ(report->store_id(), server_.store().Id());
  EXPECT_EQ(report->owner_id(), server_.store().Id());
  EXPECT_EQ(report->owner_store(), server_.uri());
  EXPECT_EQ(report->artifacts(), server_.artifacts());
}

TEST_F(OperationsTest, ADryRunDeletesNothing) {
  ASSERT_TRUE(server_.logs().Append({"gone", 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "words").ok());
  admin::v1::CollectGarbageRequest request;
  request.set_dry_run(true);
  EXPECT_EQ(operations_.Collect(request)->logs(), 1);
  request.set_dry_run(false);
  EXPECT_EQ(operations_.Collect(request)->logs(), 1);
  EXPECT_EQ(operations_.Collect(request)->logs(), 0);
}

}  // namespace
}  // namespace graft
