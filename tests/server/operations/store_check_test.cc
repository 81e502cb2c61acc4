#include "server/operations/store_check.h"

#include "gmock/gmock.h"
#include "tests/server/operations/data_fixture.h"

namespace graft {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class StoreCheckTest : public ::testing::Test {
 protected:
  admin::v1::CheckReport Check(bool read = false) {
    admin::v1::CheckRequest request;
    request.set_read(read);
    const auto report = CheckStore(server_.store(), server_.blobs(), request, GoOn);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(admin::v1::CheckReport());
  }

  const TempDir directory_;
  DataFixture server_{directory_.Path("data")};
};

TEST_F(StoreCheckTest, CountsWhatIsNamedAndWhatIsNot) {
  server_.Name("articles", "the rows");
  ASSERT_TRUE(server_.blobs().Put("an upload").ok());
  const auto report = Check(/*read=*/true);
  EXPECT_EQ(report.named_blobs(), 1);
  EXPECT_EQ(report.named_bytes(), 8);
  EXPECT_EQ(report.unnamed_blobs(), 1);
  EXPECT_EQ(report.unnamed_bytes(), 9);
  EXPECT_EQ(report.problem_count(), 0);
}

TEST_F(StoreCheckTest, ABlobThatIsMissingIsToldWithWhoNamesIt) {
  const std::string blob = server_.Name("articles", "the rows");
  ASSERT_TRUE(RemoveFile(server_.PathOf(blob)).ok());
  const auto report = Check();
  EXPECT_EQ(report.problem_count(), 1);
  EXPECT_THAT(report.problems(), ElementsAre(AllOf(HasSubstr("data set articles"), HasSubstr(blob),
                                                   HasSubstr("missing"))));
}

TEST_F(StoreCheckTest, ALengthIsSeenWithoutReadingABitOnlyWithIt) {
  const std::string blob = server_.Name("articles", "the rows");
  FlipBit(server_.PathOf(blob));
  EXPECT_THAT(Check().problems(), IsEmpty());
  EXPECT_THAT(Check(/*read=*/true).problems(), ElementsAre(HasSubstr("corrupt")));
  ASSERT_TRUE(WriteFileAtomically(server_.PathOf(blob), "the row").ok());
  EXPECT_THAT(Check().problems(), ElementsAre(HasSubstr("7 bytes instead of 8")));
}

TEST_F(StoreCheckTest, ManyProblemsAreCountedAndSomeTold) {
  v1::Model model;
  model.set_name("m");
  for (int i = 0; i <= kMostProblemsTold; ++i) {
    v1::Artifact& file = *model.add_files();
    file.set_path(absl::StrCat("f", i));
    file.set_sha256(absl::StrCat(std::string(60, 'a'), 1000 + i));
  }
  ASSERT_TRUE(server_.store().InsertModel(model).ok());
  const auto report = Check();
  EXPECT_EQ(report.problem_count(), kMostProblemsTold + 1);
  EXPECT_EQ(report.problems_size(), kMostProblemsTold);
}

TEST_F(StoreCheckTest, CanBeEnded) {
  server_.Name("articles", "the rows");
  for (const char* part : {"store", "blobs"}) {
    const auto report =
        CheckStore(server_.store(), server_.blobs(), {},
                   [&](const admin::v1::Progress& progress) { return progress.what() != part; });
    EXPECT_TRUE(absl::IsCancelled(report.status())) << part;
  }
}

}  // namespace
}  // namespace graft
