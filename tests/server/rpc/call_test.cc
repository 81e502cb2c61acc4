#include "server/rpc/call.h"

#include "common/base/file.h"
#include "common/errors/status_details.h"
#include "common/telemetry/log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(CallTest, ACrowdThatIsRefusedIsCountedAndNotLogged) {
  const TempDir directory;
  LogOptions log;
  log.file = directory.Path("log");
  ASSERT_TRUE(StartLogging(log).ok());
  MetricRegistry registry;
  CallMetrics metrics(registry);
  RpcRuntime runtime(metrics, Clock::Real(), {});
  const CallInfo upload = {"DatasetService.UploadDataset", "datasets.create", ""};
  const auto end = [&](const absl::Status& status) {
    runtime.EndStream(upload, {}, status, absl::ZeroDuration(), nullptr);
  };
  end(Overloaded("too many streams", absl::Seconds(1)));
  end(Overloaded("too many streams", absl::Seconds(1)));
  end(DiskFull("there is no room for a blob"));
  EXPECT_THAT(*ReadFile(log.file, 1 << 20),
              AllOf(HasSubstr("there is no room"), Not(HasSubstr("too many streams"))));
  EXPECT_THAT(registry.Text(), HasSubstr("graft_rpc_calls_total{code=\"RESOURCE_EXHAUSTED\","
                                         "method=\"DatasetService.UploadDataset\"} 3"));
  EXPECT_TRUE(StartLogging({}).ok());
}

}  // namespace
}  // namespace graft
