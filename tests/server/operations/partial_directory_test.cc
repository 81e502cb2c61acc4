#include "server/operations/partial_directory.h"

#include <utility>

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PartialDirectoryTest : public ::testing::Test {
 protected:
  std::string target() const { return directory_.Path("new"); }
  std::string Partial(const std::string& name) const {
    return JoinPath(directory_.Path("new.partial"), name);
  }

  const TempDir directory_;
};

TEST_F(PartialDirectoryTest, AppearsWholeOrNotAtAll) {
  {
    const auto partial = PartialDirectory::Create(target());
    ASSERT_TRUE(partial.ok()) << partial.status();
    ASSERT_TRUE(WriteFileAtomically(JoinPath(partial->path(), "a"), "x").ok());
    EXPECT_FALSE(DirectoryExists(target()));
  }
  EXPECT_THAT(*ListDirectory(directory_.path()), IsEmpty());
  auto partial = PartialDirectory::Create(target() + "/");
  ASSERT_TRUE(WriteFileAtomically(JoinPath(partial->path(), "a"), "x").ok());
  ASSERT_TRUE(partial->Finish().ok());
  EXPECT_THAT(*ListDirectory(directory_.path()), ElementsAre("new"));
  EXPECT_THAT(*ListDirectory(target()), ElementsAre("a"));
}

TEST_F(PartialDirectoryTest, OneAtATime) {
  const auto first = PartialDirectory::Create(target());
  const auto second = PartialDirectory::Create(target());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("under way"));
  EXPECT_TRUE(DirectoryExists(first->path()));
}

TEST_F(PartialDirectoryTest, WhatAKilledOneLeftGoesAndAnythingElseStays) {
  ASSERT_TRUE(CreateDirectories(Partial("")).ok());
  ASSERT_TRUE(WriteFileAtomically(Partial("mine"), "x").ok());
  const auto refused = PartialDirectory::Create(target());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("mine"));
  EXPECT_TRUE(FileExists(Partial("mine")));
  ASSERT_TRUE(WriteFileAtomically(Partial("graft.db"), "half").ok());
  const auto taken = PartialDirectory::Create(target());
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_THAT(*ListDirectory(taken->path()), IsEmpty());
}

TEST_F(PartialDirectoryTest, AFileAndAMountPointAreNoTargets) {
  ASSERT_TRUE(WriteFileAtomically(target(), "x").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(PartialDirectory::Create(target()).status()));
  EXPECT_EQ(PartialDirectory::Create("/proc").status().code(), absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace graft
