#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class FakeWorkers : public v1::WorkerService::Service {
 public:
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* response) override {
    // A worker a page.
    const size_t place = request->page_token().empty() ? 0 : std::stoul(request->page_token());
    if (place < workers.size()) *response->add_workers() = workers[place];
    if (place + 1 < workers.size()) response->set_next_page_token(std::to_string(place + 1));
    return grpc::Status::OK;
  }

  std::vector<v1::Worker> workers;
};

class WorkersCommandTest : public ::testing::Test {
 protected:
  // Standard output and error.
  std::string Run(std::vector<std::string> words = {}) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    words.insert(words.begin(), "workers");
    const absl::Status status = server_.Run(AddWorkersCommand, words);
    EXPECT_TRUE(status.ok()) << status;
    return ::testing::internal::GetCapturedStdout() + ::testing::internal::GetCapturedStderr();
  }

  FakeWorkers workers_;
  CommandServer server_{std::vector<grpc::Service*>{&workers_}};
};

TEST_F(WorkersCommandTest, EachHasItsDeviceThreadsAndJobs) {
  v1::Worker& first = workers_.workers.emplace_back();
  first.set_name("w-1");
  first.set_connected(true);
  first.set_hostname("host");
  first.add_devices("cuda:0 NVIDIA H200");
  first.set_engine_threads(8);
  first.set_slots(2);
  first.set_free_slots(1);
  first.add_jobs("jobs/a");
  first.set_seconds_since_heard(1.5);
  v1::Worker& away = workers_.workers.emplace_back();
  away.set_name("w-2");
  away.add_jobs("jobs/b");
  v1::Worker& serving = workers_.workers.emplace_back();
  serving.set_name("w-3");
  serving.set_connected(true);
  serving.set_hostname("host");
  serving.add_devices("cpu");
  serving.set_engine_threads(4);
  serving.set_slots(1);
  serving.set_free_slots(1);
  serving.set_serves_only(true);
  EXPECT_EQ(Run(),
            "WORKER  HOST  DEVICE              THREADS  BUSY     HEARD  RUNS\n"
            "w-1     host  cuda:0 NVIDIA H200        8   1/2  1.5s ago  jobs/a\n"
            "w-2     -     away                      -     -         -  jobs/b\n"
            "w-3     host  cpu                       4   0/1  0.0s ago  texts only\n");
  EXPECT_EQ(Run({"--output", "csv"}),
            "name,connected,hostname,version,devices,engine_threads,busy_slots,slots,"
            "seconds_since_heard,jobs,serves_only\r\n"
            "w-1,true,host,,cuda:0 NVIDIA H200,8,1,2,1.5,jobs/a,false\r\n"
            "w-2,false,,,,,,,,jobs/b,\r\n"
            "w-3,true,host,,cpu,4,0,1,0.0,,true\r\n");
}

TEST_F(WorkersCommandTest, NoWorkerIsSaidWithWhatWouldHelp) {
  EXPECT_THAT(Run(), HasSubstr("no worker is connected"));
  server_.context().json = true;
  EXPECT_EQ(Run(), "");
}

}  // namespace
}  // namespace graft
