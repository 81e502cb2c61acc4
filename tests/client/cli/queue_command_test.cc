#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class FakeQueue : public v1::JobService::Service {
 public:
  grpc::Status GetQueue(grpc::ServerContext*, const v1::GetQueueRequest* request,
                        v1::GetQueueResponse* response) override {
    response->set_total(static_cast<int64_t>(jobs.size()));
    // A job a page.
    size_t place = request->page_token().empty() ? 0 : std::stoul(request->page_token());
    while (place < jobs.size() && !request->name().empty() && jobs[place].name() != request->name())
      ++place;
    if (place < jobs.size()) *response->add_jobs() = jobs[place];
    if (place + 1 < jobs.size()) response->set_next_page_token(std::to_string(place + 1));
    return grpc::Status::OK;
  }

  std::vector<v1::QueueEntry> jobs;
};

class QueueCommandTest : public ::testing::Test {
 protected:
  QueueCommandTest() {
    for (const char* name : {"jobs/a", "jobs/b"}) {
      v1::QueueEntry& entry = queue_.jobs.emplace_back();
      entry.set_name(name);
      entry.set_method("lora");
      entry.set_position(static_cast<int64_t>(queue_.jobs.size()));
      entry.set_waits("the only worker that can do it is busy");
    }
    queue_.jobs[0].set_expected_start_seconds(90);
  }
  // Standard output and error.
  std::string Run(std::vector<std::string> words) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    words.insert(words.begin(), "queue");
    const absl::Status status = server_.Run(AddQueueCommand, words);
    EXPECT_TRUE(status.ok()) << status;
    return ::testing::internal::GetCapturedStdout() + ::testing::internal::GetCapturedStderr();
  }

  FakeQueue queue_;
  CommandServer server_{std::vector<grpc::Service*>{&queue_}};
};

TEST_F(QueueCommandTest, EveryJobHasItsPlaceItsStartAndItsReason) {
  EXPECT_EQ(
      Run({}),
      "PLACE  JOB     NAME  METHOD  PRIORITY  STARTS IN  WAITS\n"
      "    1  jobs/a        lora           0      1m30s  the only worker that can do it is busy\n"
      "    2  jobs/b        lora           0          -  the only worker that can do it is busy\n");
  EXPECT_THAT(Run({"--limit", "1"}), HasSubstr("graft: 1 more wait"));
}

TEST_F(QueueCommandTest, OneJobTellsWhatRunsBeforeItAndWhatWorkersLack) {
  v1::QueueEntry& entry = queue_.jobs[1];
  entry.add_runs_before("jobs/r");
  entry.add_runs_before("jobs/a");
  for (const char* id : {"w-1", "w-2", "w-3", "w-4", "w-5"}) {
    entry.add_workers()->set_worker(id);
    entry.mutable_workers()->rbegin()->set_slots(1);
  }
  entry.mutable_workers(0)->add_lacks("device NVIDIA H200 (it has cpu)");
  entry.mutable_workers(0)->add_lacks("method dora");
  entry.mutable_workers(1)->set_handed_back(true);
  entry.mutable_workers(2)->set_set_aside_seconds(20);
  entry.mutable_workers(4)->set_free_slots(1);
  EXPECT_EQ(Run({"jobs/b"}),
            "job            jobs/b\n"
            "place          2 of 2\n"
            "waits          the only worker that can do it is busy\n"
            "runs before    jobs/r, jobs/a\n"
            "\n"
            "WORKER  BUSY  FOR THIS JOB\n"
            "w-1      1/1  lacks device NVIDIA H200 (it has cpu), method dora\n"
            "w-2      1/1  handed it back\n"
            "w-3      1/1  set aside for 20.0s, since its attempts came to nothing\n"
            "w-4      1/1  can do it\n"
            "w-5      0/1  can do it, and is free\n");
}

TEST_F(QueueCommandTest, InCsvOneJobIsARowOfTheList) {
  const std::string header =
      "position,name,display_name,method,priority,queue_time,expected_start_seconds,waits\r\n";
  const std::string waits = "the only worker that can do it is busy\r\n";
  EXPECT_EQ(Run({"--output", "csv"}),
            absl::StrCat(header, "1,jobs/a,,lora,0,,90.0,", waits, "2,jobs/b,,lora,0,,,", waits));
  EXPECT_EQ(Run({"jobs/b", "--output", "csv"}), absl::StrCat(header, "2,jobs/b,,lora,0,,,", waits));
  queue_.jobs.clear();
  EXPECT_EQ(Run({"--output", "csv"}), header);
}

TEST_F(QueueCommandTest, AnEmptyQueueIsSaid) {
  queue_.jobs.clear();
  EXPECT_EQ(Run({}), "graft: no job waits\n");
  server_.context().json = true;
  EXPECT_EQ(Run({}), "");
}

}  // namespace
}  // namespace graft
