#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// Rows that are listed one a page.
class FakeRows : public v1::JobService::Service {
 public:
  grpc::Status ReadRows(grpc::ServerContext*, const v1::ReadRowsRequest* request,
                        v1::ReadRowsResponse* response) override {
    last = *request;
    const int row = request->page_token().empty() ? 0 : std::stoi(request->page_token());
    v1::RowLoss& loss = *response->add_rows();
    loss.set_row(row);
    loss.set_line(row + 1);
    loss.set_id("r" + std::to_string(row));
    loss.set_tokens(4);
    loss.set_loss(2.5);
    if (row == 0) loss.set_untuned_loss(3);
    loss.set_source("the source");
    loss.set_target("the target");
    response->set_total(3);
    response->set_step(step);
    response->set_complete(step == 0);
    if (row < 2) response->set_next_page_token(std::to_string(row + 1));
    return grpc::Status::OK;
  }

  v1::ReadRowsRequest last;
  int64_t step = 0;
};

class RowsCommandTest : public ::testing::Test {
 protected:
  absl::Status Run(std::vector<std::string> words) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    words.insert(words.begin(), "rows");
    const absl::Status status = server_.Run(AddRowsCommand, words);
    out_ = ::testing::internal::GetCapturedStdout();
    error_ = ::testing::internal::GetCapturedStderr();
    return status;
  }

  FakeRows rows_;
  CommandServer server_{std::vector<grpc::Service*>{&rows_}};
  std::string out_, error_;
};

TEST_F(RowsCommandTest, SoManyAsAreAskedForInTheirOrder) {
  ASSERT_TRUE(Run({"jobs/a", "--adapter", "b"}).ok());
  EXPECT_EQ(rows_.last.adapter(), "b");
  ASSERT_TRUE(Run({"jobs/a", "--worst", "2"}).ok());
  EXPECT_EQ(rows_.last.order(), v1::ROW_ORDER_WORST);
  EXPECT_EQ(out_,
            "ROW  LINE  ID  TOKENS    LOSS  UNTUNED  SOURCE      TARGET\n"
            "  0     1  r0       4  2.5000   3.0000  the source  the target\n"
            "  1     2  r1       4  2.5000        -  the source  the target\n");
  EXPECT_EQ(error_, "graft: 2 of 3 rows\n");
  ASSERT_TRUE(Run({"jobs/a", "--lost", "1"}).ok());
  EXPECT_EQ(rows_.last.order(), v1::ROW_ORDER_LOST);
  ASSERT_TRUE(Run({"jobs/a"}).ok());
  EXPECT_EQ(rows_.last.order(), v1::ROW_ORDER_UNSPECIFIED);
  EXPECT_EQ(error_, "graft: 3 of 3 rows\n");
  rows_.step = 40;
  ASSERT_TRUE(Run({"jobs/a", "--limit", "1"}).ok());
  EXPECT_EQ(error_, "graft: 1 of the first 3 rows at step 40, the best\n");
  EXPECT_FALSE(rows_.last.train());
  ASSERT_TRUE(Run({"jobs/a", "--train", "--worst", "1"}).ok());
  EXPECT_TRUE(rows_.last.train());
  EXPECT_EQ(error_, "graft: 1 of the first 3 training rows at step 40, which is published\n");
  EXPECT_TRUE(absl::IsInvalidArgument(Run({"jobs/a", "--lost", "1", "--worst", "1"})));
  EXPECT_TRUE(absl::IsInvalidArgument(Run({"jobs/a", "--worst", "0"})));
}

TEST_F(RowsCommandTest, JsonHasARowALine) {
  server_.context().json = true;
  ASSERT_TRUE(Run({"jobs/a", "--limit", "1"}).ok());
  EXPECT_THAT(out_, HasSubstr("\"untuned_loss\":3"));
}

}  // namespace
}  // namespace graft
