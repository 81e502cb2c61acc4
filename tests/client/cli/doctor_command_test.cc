#include <string>
#include <vector>

#include "common/base/version.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"
#include "tests/client/cli/locale.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A server with what a test gives it.
class Patient : public v1::WorkerService::Service, public v1::ModelService::Service {
 public:
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse* response) override {
    *response = workers;
    return status;
  }
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    *response = models;
    return grpc::Status::OK;
  }

  grpc::Status status;
  v1::ListWorkersResponse workers;
  v1::ListModelsResponse models;
};

class PatientQueue : public v1::JobService::Service {
 public:
  grpc::Status GetQueue(grpc::ServerContext*, const v1::GetQueueRequest*,
                        v1::GetQueueResponse* response) override {
    *response = queue;
    return grpc::Status::OK;
  }

  v1::GetQueueResponse queue;
};

class DoctorCommandTest : public ::testing::Test {
 protected:
  DoctorCommandTest() {
    v1::Worker& worker = *server_side_.workers.add_workers();
    worker.set_name("w-1");
    worker.set_hostname("host");
    worker.set_connected(true);
    worker.set_version(kVersion);
    worker.add_devices("cpu");
    worker.set_engine_threads(2);
    worker.set_slots(2);
    worker.set_free_slots(1);
    worker.set_seconds_since_heard(1);
    server_side_.models.add_models()->set_name("gpt2");
  }
  v1::Worker& worker() { return *server_side_.workers.mutable_workers(0); }
  v1::QueueEntry& Wait(v1::WaitReason reason) {
    v1::QueueEntry& entry = *jobs_.queue.add_jobs();
    entry.set_name("jobs/a");
    entry.set_reason(reason);
    entry.set_waits("the reason");
    jobs_.queue.set_total(jobs_.queue.jobs_size());
    return entry;
  }
  // The exit code.
  int Run() {
    ::testing::internal::CaptureStdout();
    const absl::Status status = server_.Run(AddDoctorCommand, {"doctor"});
    out_ = ::testing::internal::GetCapturedStdout();
    return ExitCodeAfter(status);
  }

  const Utf8Locale locale_;
  Patient server_side_;
  PatientQueue jobs_;
  CommandServer server_{
      std::vector<grpc::Service*>{static_cast<v1::WorkerService::Service*>(&server_side_),
                                  static_cast<v1::ModelService::Service*>(&server_side_), &jobs_}};
  std::string out_;
};

TEST_F(DoctorCommandTest, NothingIsWrong) {
  EXPECT_EQ(Run(), kExitDone);
  EXPECT_THAT(out_, HasSubstr(absl::StrCat("ok    graft    ", kVersion, "\n")));
  EXPECT_THAT(out_, HasSubstr("\nok    server   answers at "));
  EXPECT_THAT(out_, HasSubstr("\nok    worker   w-1 on host: cpu, 2 threads, 1 of 2 slots busy, "
                              "heard 1.0s ago\n"));
  EXPECT_THAT(out_, HasSubstr("\nok    queue    no job waits\nok    models   gpt2\n"));
  EXPECT_THAT(out_, Not(HasSubstr("note")));
}

TEST_F(DoctorCommandTest, JobsThatCannotRunAreWrong) {
  Wait(v1::WAIT_REASON_BUSY);
  EXPECT_EQ(Run(), kExitDone);
  EXPECT_THAT(out_, HasSubstr("ok    queue    1 waiting; first: the reason\n"));
  Wait(v1::WAIT_REASON_NO_FITTING_WORKER);
  EXPECT_EQ(Run(), kExitFailed);
  EXPECT_THAT(out_, HasSubstr("\nWRONG queue    jobs/a waits, the reason: graft"));
}

TEST_F(DoctorCommandTest, AWorkerThatIsAwayOrSilentIsWrong) {
  worker().set_seconds_since_heard(40);
  EXPECT_EQ(Run(), kExitFailed);
  EXPECT_THAT(out_, HasSubstr("\nWRONG worker   w-1 on host was not heard for 40.0s: "));
  worker().set_connected(false);
  worker().add_jobs("jobs/b");
  EXPECT_EQ(Run(), kExitFailed);
  EXPECT_THAT(out_, HasSubstr("\nWRONG worker   w-1 is away and holds jobs/b: "));
  EXPECT_THAT(out_, HasSubstr("\nWRONG workers  none is connected"));
}

TEST_F(DoctorCommandTest, AnotherVersionAndAnEmptyCatalogueAreOnlySaid) {
  worker().set_version("0.0.1");
  server_side_.models.Clear();
  EXPECT_EQ(Run(), kExitDone);
  EXPECT_THAT(out_, HasSubstr("\nnote  worker   w-1 is graft 0.0.1, this is "));
  EXPECT_THAT(out_, HasSubstr("\nnote  models   no base model yet. "));
}

TEST_F(DoctorCommandTest, AServerThatIsAwayIsSaidWithWhatWouldHelp) {
  server_side_.status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "nobody");
  EXPECT_EQ(Run(), kExitUnreachable);
  EXPECT_THAT(out_, HasSubstr("\nWRONG server   no answer at "));
  EXPECT_THAT(out_, HasSubstr("(nobody): start graft-server there"));
}

TEST_F(DoctorCommandTest, JsonIsALineAFinding) {
  server_side_.workers.Clear();
  server_.context().json = true;
  EXPECT_EQ(Run(), kExitFailed);
  EXPECT_THAT(out_, HasSubstr("\"ok\":false,\"state\":\"WRONG\",\"what\":\"workers\"}\n"));
}

}  // namespace
}  // namespace graft
