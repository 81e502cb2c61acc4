#include "server/rpc/worker_list_service.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WorkerListServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::ListWorkersResponse> List(int page_size = 0,
                                               const std::string& page_token = "") {
    v1::ListWorkersRequest request;
    request.set_page_size(page_size);
    request.set_page_token(page_token);
    v1::ListWorkersResponse response;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(stub_->ListWorkers(context.get(), request, &response));
    if (!status.ok()) return status;
    return response;
  }
  std::vector<v1::Worker> Workers() {
    const auto response = List();
    EXPECT_TRUE(response.ok()) << response.status();
    return {response->workers().begin(), response->workers().end()};
  }

  TestServer server_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_ =
      v1::WorkerService::NewStub(server_.channel());
};

TEST_F(WorkerListServiceTest, NobodyIsConnectedAtFirst) { EXPECT_THAT(Workers(), IsEmpty()); }

TEST_F(WorkerListServiceTest, AConnectedWorkerIsListedWithWhatItRuns) {
  FakeWorker worker(server_, "w1");
  worker.Connect(/*slots=*/2);
  const std::string job = server_.Create(LoraJob())->name();
  ASSERT_TRUE(worker.Lease("r1").ok());
  const std::vector<v1::Worker> workers = Workers();
  ASSERT_EQ(workers.size(), 1u);
  EXPECT_EQ(workers[0].name(), "w1");
  EXPECT_TRUE(workers[0].connected());
  EXPECT_THAT(workers[0].devices(), ElementsAre("cuda:0 Fake"));
  EXPECT_EQ(workers[0].engine_threads(), 3);
  EXPECT_EQ(workers[0].slots(), 2);
  EXPECT_EQ(workers[0].free_slots(), 1);
  EXPECT_THAT(workers[0].jobs(), ElementsAre(job));
  EXPECT_GE(workers[0].seconds_since_heard(), 0);
}

TEST_F(WorkerListServiceTest, AWorkerThatOnlyServesSaysSo) {
  FakeWorker trains(server_, "w1");
  trains.Connect();
  FakeWorker serves(server_, "w2");
  worker::v1::ConnectRequest hello;
  hello.set_serves_only(true);
  serves.Connect(/*slots=*/1, hello);
  const std::vector<v1::Worker> workers = Workers();
  ASSERT_EQ(workers.size(), 2u);
  EXPECT_FALSE(workers[0].serves_only());
  EXPECT_TRUE(workers[1].serves_only());
}

TEST_F(WorkerListServiceTest, AWorkerThatIsAwayIsListedWhileItHoldsAJob) {
  FakeWorker worker(server_, "w1");
  const std::string job = server_.Create(LoraJob())->name();
  ASSERT_TRUE(worker.Lease("r1").ok());
  const std::vector<v1::Worker> workers = Workers();
  ASSERT_EQ(workers.size(), 1u);
  EXPECT_FALSE(workers[0].connected());
  EXPECT_THAT(workers[0].jobs(), ElementsAre(job));
}

TEST_F(WorkerListServiceTest, PagesListEachWorkerOnce) {
  std::vector<std::unique_ptr<FakeWorker>> workers;
  for (const char* id : {"w3", "w1", "w2"}) {
    workers.push_back(std::make_unique<FakeWorker>(server_, id));
    workers.back()->Connect();
  }
  std::vector<std::string> names;
  std::string token;
  do {
    const auto page = List(2, token);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const v1::Worker& worker : page->workers()) names.push_back(worker.name());
    token = page->next_page_token();
  } while (!token.empty());
  EXPECT_THAT(names, ElementsAre("w1", "w2", "w3"));
  EXPECT_TRUE(absl::IsInvalidArgument(List(2, "broken").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(List(-1).status()));
}

}  // namespace
}  // namespace graft
