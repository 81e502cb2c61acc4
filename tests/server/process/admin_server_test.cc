#include "server/process/admin_server.h"

#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "common/base/process_lock.h"
#include "common/rpc/status.h"
#include "gmock/gmock.h"
#include "server/operations/data_directory.h"
#include "server/process/data_operations.h"
#include "tests/server/operations/data_fixture.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// A server's data, its lock and its admin.sock; the commands come to it as to another process.
class AdminServerTest : public ::testing::Test {
 protected:
  std::unique_ptr<DataOperations> Connect() {
    ServerFlags flags;
    flags.data = server_.data();
    auto connected = OpenData(flags);
    EXPECT_TRUE(connected.ok()) << connected.status();
    return *std::move(connected);
  }
  std::string SocketPath() const { return JoinPath(server_.data(), "admin.sock"); }

  const TempDir directory_;
  // Its path is longer than a socket's may be.
  DataFixture server_{directory_.Path(absl::StrCat(std::string(120, 'd'), "/data"))};
  Operations operations_{
      {server_.store(), server_.blobs(), server_.logs(), server_.uri(), server_.artifacts()}};
  const absl::StatusOr<ProcessLock> lock_ = ProcessLock::Acquire(
      JoinPath(server_.data(), kServerLockName), server_.data(), "graft-server");
};

TEST_F(AdminServerTest, AnswersByASocketOfItsOwnerOnly) {
  const std::string blob = server_.Name("articles", "the rows");
  const auto admin = AdminServer::Start(server_.data(), operations_, Clock::Real());
  ASSERT_TRUE(admin.ok()) << admin.status();
  struct stat file;
  ASSERT_EQ(::stat(SocketPath().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600U);
  const auto data = Connect();
  EXPECT_TRUE(data->server_runs());
  const auto report = data->Check({}, GoOn);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->named_blobs(), 1);
  EXPECT_EQ(report->store_id(), server_.store().Id());
  admin::v1::BackUpRequest request;
  request.set_to(directory_.Path("backup"));
  const auto backup = data->BackUp(request, GoOn);
  ASSERT_TRUE(backup.ok()) << backup.status();
  EXPECT_EQ(backup->blobs(), 1);
  EXPECT_TRUE(absl::IsAlreadyExists(data->BackUp(request, GoOn).status()));
  EXPECT_EQ(data->Collect({})->named_blobs(), 1);
}

TEST_F(AdminServerTest, ASocketThatAKilledServerLeftIsReplaced) {
  ASSERT_TRUE(WriteFileAtomically(SocketPath(), "").ok());
  const auto admin = AdminServer::Start(server_.data(), operations_, Clock::Real());
  ASSERT_TRUE(admin.ok()) << admin.status();
  EXPECT_TRUE(Connect()->Check({}, GoOn).ok());
}

TEST_F(AdminServerTest, ItsEndTakesTheSocketAway) {
  AdminServer::Start(server_.data(), operations_, Clock::Real())->reset();
  EXPECT_FALSE(FileExists(SocketPath()));
  ServerFlags flags;
  flags.data = server_.data();
  const auto refused = OpenData(flags);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("admin.sock"));
}

TEST_F(AdminServerTest, ACallerThatGoesEndsItsBackup) {
  server_.Name("articles", "the rows");
  const auto admin = AdminServer::Start(server_.data(), operations_, Clock::Real());
  ASSERT_TRUE(admin.ok()) << admin.status();
  admin::v1::BackUpRequest request;
  request.set_to(directory_.Path("backup"));
  const auto gone = Connect()->BackUp(request, [](const admin::v1::Progress&) { return false; });
  EXPECT_TRUE(absl::IsCancelled(gone.status())) << gone.status();
  // The next one finds no other under way, sooner or later.
  absl::Status next;
  do {
    next = Connect()->BackUp(request, GoOn).status();
  } while (absl::IsFailedPrecondition(next));
  EXPECT_TRUE(next.ok() || absl::IsAlreadyExists(next)) << next;
}

}  // namespace
}  // namespace graft
