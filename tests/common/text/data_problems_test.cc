#include "common/text/data_problems.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kGood[] = "{\"a\": \"x\", \"b\": \"y\"}\n";

DataFields PairOf(const std::string& source, const std::string& target) {
  DataFields fields;
  fields.source_field = source;
  fields.target_field = target;
  return fields;
}

bool Never() { return false; }

DataProblems ProblemsOf(const std::string& content, int64_t max_rows = 0,
                        const DataFields& fields = PairOf("a", "b")) {
  absl::StatusOr<DataReader> reader = DataReader::FromString(content, fields);
  EXPECT_TRUE(reader.ok()) << reader.status();
  absl::StatusOr<DataProblems> problems = FindProblems(*reader, max_rows, Never);
  EXPECT_TRUE(problems.ok()) << problems.status();
  return *problems;
}

TEST(DataProblemsTest, EveryRowThatCannotBeReadIsNamedByItsLine) {
  const std::string rows = absl::StrCat(
      kGood, "{\"a\": null, \"b\": \"y\"}\n", "{\"a\": \"x\", \"b\": 3}\n", kGood,
      "{\"a\": [\"x\"], \"b\": \"y\"}\n", "{\"a\": \"x\"}\n", "{\"a\": \"x\", \"b\": []}\n",
      "{\"a\": \"\\ud800\", \"b\": \"y\"}\n", "{\"a\": \n", "{\"a\": \"\xff\"}\n", kGood);
  EXPECT_THAT(ProblemsOf(rows).Lines(),
              ElementsAre(StartsWith("line 2: field \"a\" is null"),
                          StartsWith("line 3: field \"b\" is a number"),
                          StartsWith("line 5: field \"a\" is a list of strings"),
                          StartsWith("line 6: field \"b\" is missing"),
                          StartsWith("line 7: field \"b\" is an empty list"),
                          AllOf(StartsWith("line 8: "), HasSubstr("half a surrogate")),
                          StartsWith("line 9: "), StartsWith("line 10: invalid UTF-8")));
  EXPECT_TRUE(ProblemsOf(kGood).empty());
}

TEST(DataProblemsTest, RowsOfCsvAreReadOnAsWell) {
  EXPECT_THAT(ProblemsOf("a,b\n1,2\n1\n\"x\ny\",2\n1,2,3\n").Lines(),
              ElementsAre(StartsWith("line 3: the row has 1 field"),
                          StartsWith("line 6: the row has 3 fields")));
}

TEST(DataProblemsTest, TheFirstAreListedAndTheRestIsCounted) {
  std::string rows;
  for (int i = 0; i < 27; ++i) {
    absl::StrAppend(&rows, "{\"", std::string(500, 'n'), "\": 1}\n");
  }
  const DataProblems problems = ProblemsOf(rows);
  EXPECT_EQ(problems.count(), 27);
  EXPECT_THAT(problems.Lines(), SizeIs(kMaxListedProblems + 1));
  EXPECT_EQ(problems.Lines().back(), "… and 7 more");
  EXPECT_LE(problems.Text().size(), kMaxProblemBytes + 200) << "fits into a trailer";
}

TEST(DataProblemsTest, RowsThatAreLeftOutAreNoProblem) {
  const std::string rows = absl::StrCat(kGood, "17\n", kGood, "18\n");
  EXPECT_EQ(ProblemsOf(rows, 1).count(), 0);
  EXPECT_EQ(ProblemsOf(rows, 3).count(), 1);
  EXPECT_EQ(ProblemsOf(rows).count(), 2);
}

TEST(DataProblemsTest, AFileWithoutRowsIsAProblem) {
  EXPECT_THAT(ProblemsOf("").Lines(), ElementsAre(HasSubstr("no rows")));
}

TEST(DataProblemsTest, ARowThatHasNoEndIsTheLast) {
  EXPECT_THAT(ProblemsOf("a,b\n1,2\n\"x,2\n1,2\n").Lines(), ElementsAre(StartsWith("line 3: ")));
}

TEST(DataProblemsTest, NobodyReadsOnForNobody) {
  absl::StatusOr<DataReader> reader = DataReader::FromString(kGood, PairOf("a", "b"));
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(absl::IsCancelled(FindProblems(*reader, 0, [] { return true; }).status()));
}

TEST(DataProblemsTest, NamesAreReadWithoutTheirEscapes) {
  const std::string row = "{\"\\u0442\": \"x\", \"b\": \"y\"}\n";
  EXPECT_TRUE(ProblemsOf(row, 0, PairOf("т", "b")).empty());
  EXPECT_THAT(ProblemsOf(row).Lines(), ElementsAre(HasSubstr("the row has: т, b")));
}

}  // namespace
}  // namespace graft
