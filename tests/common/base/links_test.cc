#include "common/base/links.h"

#include <unistd.h>

#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

TEST(LinksTest, ALinkLeadsToWhateverHasTheName) {
  const TempDir dir;
  ASSERT_TRUE(LinkByName("there", dir.Path("link")).ok());
  EXPECT_FALSE(FileExists(dir.Path("link")));
  ASSERT_TRUE(WriteFileAtomically(dir.Path("there"), "x").ok());
  EXPECT_EQ(*ReadFile(dir.Path("link"), 10), "x");
  EXPECT_TRUE(absl::IsAlreadyExists(LinkByName("elsewhere", dir.Path("link"))));
}

TEST(LinksTest, NamesAreExchanged) {
  const TempDir dir;
  ASSERT_TRUE(WriteFileAtomically(dir.Path("one"), "1").ok());
  ASSERT_TRUE(CreateDirectories(dir.Path("two")).ok());
  ASSERT_TRUE(WriteFileAtomically(dir.Path("two/file"), "2").ok());
  ASSERT_TRUE(ExchangeAndSync(dir.Path("one"), dir.Path("two")).ok());
  EXPECT_EQ(*ReadFile(dir.Path("two"), 10), "1");
  EXPECT_EQ(*ReadFile(dir.Path("one/file"), 10), "2");
  EXPECT_TRUE(absl::IsNotFound(ExchangeAndSync(dir.Path("one"), dir.Path("three"))));
}

}  // namespace
}  // namespace graft
