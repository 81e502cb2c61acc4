#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Finds twelve jobs, and one that is left.
class FakePurge : public v1::JobService::Service {
 public:
  grpc::Status PurgeJobs(grpc::ServerContext*, const v1::PurgeJobsRequest* request,
                         v1::PurgeJobsResponse* response) override {
    EXPECT_NE(request->request_id(), "");
    purges.push_back(*request);
    response->set_purge_count(12);
    for (int i = 1; i <= 12; ++i) response->add_purge_sample(absl::StrCat("jobs/j", i));
    response->add_left("jobs/x: the adapter x is used by jobs/y");
    return grpc::Status::OK;
  }
  grpc::Status DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                         google::protobuf::Empty*) override {
    deleted.push_back(absl::StrCat(request->name(), request->delete_adapter() ? " +" : ""));
    return grpc::Status::OK;
  }

  std::vector<v1::PurgeJobsRequest> purges;
  std::vector<std::string> deleted;
};

// Standard input is no terminal here.
class DeleteCommandTest : public ::testing::Test {
 protected:
  absl::Status Run(const std::vector<std::string>& words) {
    ::testing::internal::CaptureStdout();
    absl::Status status = server_.Run(AddDeleteCommand, words);
    said_ = ::testing::internal::GetCapturedStdout();
    return status;
  }

  FakePurge jobs_;
  CommandServer server_{std::vector<grpc::Service*>{&jobs_}};
  std::string said_;
};

TEST_F(DeleteCommandTest, OneJobIsDeletedWithoutAQuestion) {
  EXPECT_TRUE(Run({"delete", "jobs/a"}).ok());
  EXPECT_EQ(said_, "deleted jobs/a\n");
  EXPECT_TRUE(Run({"delete", "jobs/a", "--with-adapter"}).ok());
  EXPECT_THAT(jobs_.deleted, ElementsAre("jobs/a", "jobs/a +"));
  EXPECT_THAT(jobs_.purges, IsEmpty());
}

TEST_F(DeleteCommandTest, ADryRunSaysWhatWouldBeDeleted) {
  EXPECT_TRUE(Run({"delete", "--filter", "study = s", "--dry-run", "--adapters"}).ok());
  EXPECT_THAT(said_, HasSubstr("would delete 12 jobs and their adapters\n  jobs/j1\n"));
  EXPECT_THAT(said_, HasSubstr("  jobs/j10\n  and 2 more\nleft jobs/x: the adapter"));
  ASSERT_THAT(jobs_.purges, SizeIs(1));
  EXPECT_FALSE(jobs_.purges[0].force());
  EXPECT_TRUE(jobs_.purges[0].delete_adapters());
  EXPECT_EQ(jobs_.purges[0].filter(), "study = s");
}

TEST_F(DeleteCommandTest, WhereNobodyCanBeAskedYesIsRequired) {
  const absl::Status refused = Run({"delete", "--filter", "study = s"});
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--yes deletes without asking"));
  EXPECT_THAT(jobs_.purges, IsEmpty());
  EXPECT_TRUE(Run({"delete", "--filter", "study = s", "--yes"}).ok());
  EXPECT_THAT(said_, HasSubstr("deleted 12 jobs\n"));
  ASSERT_THAT(jobs_.purges, SizeIs(1));
  EXPECT_TRUE(jobs_.purges[0].force());
  EXPECT_FALSE(jobs_.purges[0].delete_adapters());
}

TEST_F(DeleteCommandTest, AJobAndAFilterExcludeEachOther) {
  EXPECT_THAT(std::string(Run({"delete"}).message()), HasSubstr("give one of a job and --filter"));
  EXPECT_FALSE(Run({"delete", "jobs/a", "--filter", "study = s", "--yes"}).ok());
  EXPECT_THAT(std::string(Run({"delete", "jobs/a", "--dry-run"}).message()),
              HasSubstr("--dry-run goes with --filter"));
  EXPECT_THAT(jobs_.purges, IsEmpty());
  EXPECT_THAT(jobs_.deleted, IsEmpty());
}

}  // namespace
}  // namespace graft
