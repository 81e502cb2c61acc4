#include "common/text/csv_row.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

TEST(CsvRowTest, CsvIsThatOfRfc4180) {
  EXPECT_EQ(CsvLine({"a", "", "b c", "ü"}), "a,,b c,ü\r\n");
  EXPECT_EQ(CsvLine({"a,b", "c\"d", "e\nf", "g\rh"}), "\"a,b\",\"c\"\"d\",\"e\nf\",\"g\rh\"\r\n");
}

TEST(CsvRowTest, ASpreadsheetFindsNoFormulaInCsv) {
  EXPECT_EQ(CsvLine({"=1+1", "+a", "-a", "@SUM(A1)", "\t=1", "\r=1"}),
            "'=1+1,'+a,'-a,'@SUM(A1),'\t=1,\"'\r=1\"\r\n");
  EXPECT_EQ(CsvLine({"-0.5", "+1", "-1e-05", "a=1", "1-2"}), "-0.5,+1,-1e-05,a=1,1-2\r\n");
  EXPECT_EQ(CsvLine({"-1+2", "-1 -"}), "'-1+2,'-1 -\r\n");
}

}  // namespace
}  // namespace graft
