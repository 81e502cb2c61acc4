#include "client/cli/contexts.h"

#include "client/cli/command.h"
#include "client/cli/program.h"
#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/locale.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class ContextsTest : public ::testing::Test {
 protected:
  // What "graft WORDS…" prints on standard output; its exit code is `code_`.
  std::string Run(std::vector<const char*> words) {
    BlockInterrupts();
    words.insert(words.begin(), "graft");
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    code_ = RunGraft(static_cast<int>(words.size()), words.data());
    error_ = ::testing::internal::GetCapturedStderr();
    return ::testing::internal::GetCapturedStdout();
  }

  TempDir dir_;
  const ScopedEnvironment config_{"XDG_CONFIG_HOME", dir_.path().c_str()};
  const ScopedEnvironment server_{"GRAFT_SERVER", nullptr};
  const ScopedEnvironment context_{"GRAFT_CONTEXT", nullptr};
  int code_ = 0;
  std::string error_;
};

TEST_F(ContextsTest, TheFirstIsAskedUntilAnotherOneIsUsed) {
  EXPECT_EQ(*UsualServer(), "127.0.0.1:50051");
  EXPECT_EQ(Run({"context", "set", "lab", "lab:1"}), "lab is lab:1; it is asked from now on\n");
  EXPECT_EQ(*UsualServer(), "lab:1");
  EXPECT_THAT(Run({"context", "set", "here", "unix:/tmp/a b\"c"}),
              HasSubstr("graft context use here"));
  EXPECT_EQ(*UsualServer(), "lab:1");
  Run({"context", "use", "here"});
  EXPECT_EQ(*UsualServer(), "unix:/tmp/a b\"c");
  EXPECT_EQ(Run({"context", "list"}),
            "CONTEXT  SERVER           CURRENT\n"
            "here     unix:/tmp/a b\"c  yes\n"
            "lab      lab:1\n");
  Run({"context", "delete", "here"});
  EXPECT_EQ(*UsualServer(), "127.0.0.1:50051");
}

TEST_F(ContextsTest, AVariableGoesBeforeTheFile) {
  ASSERT_TRUE(WriteContexts(ContextsPath(), {{{"lab", "lab:1"}, {"b", "b:1"}}, "lab"}).ok());
  const ScopedEnvironment context("GRAFT_CONTEXT", "b");
  EXPECT_EQ(*UsualServer(), "b:1");
  const ScopedEnvironment server("GRAFT_SERVER", "c:1");
  EXPECT_EQ(*UsualServer(), "c:1");
}

TEST_F(ContextsTest, AContextThatIsNoneIsSaid) {
  EXPECT_EQ(Run({"context", "use", "lab"}), "");
  EXPECT_EQ(code_, kExitUsage);
  EXPECT_THAT(error_, HasSubstr("graft context set lab ADDRESS makes it"));
  Run({"context", "set", "lab", "lab:1"});
  Run({"context", "use", "lob"});
  EXPECT_THAT(error_, HasSubstr("did you mean lab?"));
  Run({"context", "set", "../x", "lab:1"});
  EXPECT_EQ(code_, kExitUsage);
  const ScopedEnvironment context("GRAFT_CONTEXT", "b");
  EXPECT_TRUE(absl::IsInvalidArgument(UsualServer().status()));
  Run({"jobs"});
  EXPECT_EQ(code_, kExitUsage);
}

TEST_F(ContextsTest, AFileThatCannotBeReadIsNamedWithItsLine) {
  ASSERT_TRUE(CreateDirectories(dir_.Path("graft")).ok());
  for (const char* text : {"servers: [\n", "server: {}\n", "- a\n", "servers: {a: {b: c}}\n"}) {
    ASSERT_TRUE(WriteFileAtomically(ContextsPath(), text).ok());
    const absl::Status status = ReadContexts(ContextsPath()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("contexts.yaml: ")) << text;
  }
  // What needs no server, and what repairs it by hand, still says so.
  Run({"context", "list"});
  EXPECT_EQ(code_, kExitUsage);
  ASSERT_TRUE(WriteFileAtomically(ContextsPath(), "").ok());
  EXPECT_TRUE(ReadContexts(ContextsPath())->servers.empty());
}

TEST_F(ContextsTest, TheFlagGoesBeforeAll) {
  Run({"context", "set", "lab", "127.0.0.1:1"});
  Run({"context", "set", "here", "127.0.0.1:2"});
  const ScopedEnvironment server("GRAFT_SERVER", "127.0.0.1:3");
  Run({"--context", "here", "jobs"});
  EXPECT_EQ(code_, kExitUnreachable);
  EXPECT_THAT(error_, HasSubstr("no answer from the server at 127.0.0.1:2"));
  Run({"jobs", "--server", "127.0.0.1:4"});
  EXPECT_THAT(error_, HasSubstr("no answer from the server at 127.0.0.1:4"));
  Run({"jobs"});
  EXPECT_THAT(error_, HasSubstr("no answer from the server at 127.0.0.1:3"));
}

}  // namespace
}  // namespace graft
