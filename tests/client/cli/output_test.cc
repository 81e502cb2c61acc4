#include "client/cli/output.h"

#include <cmath>

#include "absl/status/status.h"
#include "common/errors/status_details.h"
#include "graft/v1/job.pb.h"
#include "gtest/gtest.h"
#include "tests/client/cli/locale.h"

namespace graft {
namespace {

TEST(OutputTest, ATableFitsANarrowTerminalWhereItCan) {
  const Utf8Locale locale;
  Table table({"JOB", "NAME~", "STEP>", "LOSS>?", "CREATED?"});
  table.AddRow({"jobs/a", "what it is called for people", "23/3000", "2.736", "2026-11-28 08:44"});
  table.AddRow({"jobs/b", "b", "1/2", "-", "-"});
  EXPECT_EQ(table.ToString(50),
            "JOB     NAME                           STEP   LOSS\n"
            "jobs/a  what it is called for peo…  23/3000  2.736\n"
            "jobs/b  b                               1/2      -\n");
  EXPECT_EQ(table.ToString(30),
            "JOB     NAME              STEP\n"
            "jobs/a  what it is c…  23/3000\n"
            "jobs/b  b                  1/2\n");
}

TEST(OutputTest, TablesAlignByDisplayWidthAndTrimTheirLines) {
  const Utf8Locale locale;
  Table table({"NAME", "SIZE>", "NOTE"});
  table.AddRow({"é", "5", ""});
  table.AddRow({"longer", "1,000", "x"});
  EXPECT_EQ(table.ToString(),
            "NAME     SIZE  NOTE\n"
            "é           5\n"
            "longer  1,000  x\n");
}

TEST(OutputTest, MarkdownHasNoMarkupOfItsCells) {
  const Utf8Locale locale;
  const auto cell = [](const std::string& text) {
    Table table({"N"});
    table.AddRow({text});
    const std::string head = "| N |\n| --- |\n| ";
    return table.ToMarkdown().substr(head.size());
  };
  EXPECT_EQ(cell("soft_prompt r=8"), "soft_prompt r=8 |\n");
  EXPECT_EQ(cell("a|b\\|c"), "a\\|b\\\\\\|c |\n");
  EXPECT_EQ(cell("_x_ *y* `z` ~u~ $v$"), "\\_x\\_ \\*y\\* \\`z\\` \\~u\\~ \\$v\\$ |\n");
  EXPECT_EQ(cell("[a](javascript:b) <img> &lt;"), "\\[a\\](javascript:b) &lt;img> \\&lt; |\n");
  EXPECT_EQ(cell("a\nb\x1b[2J\r\u009b"), "a b?\\[2J?? |\n");
}

TEST(OutputTest, ExitCodesTellScriptsWhatHappened) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), kExitDone);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), kExitUsage);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), kExitNotFound);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), kExitUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("")), kExitFailed);
  // A server without a worker has answered.
  EXPECT_EQ(ExitCodeOf(WithReason(absl::UnavailableError(""), kReasonNoWorker)), kExitFailed);
}

TEST(OutputTest, EveryViolatedFieldGetsItsLine) {
  Violations violations;
  violations.Add("job.spec.a", "must be 1 or more");
  EXPECT_EQ(ErrorText(violations.ToStatus()), "graft: job.spec.a: must be 1 or more\n");
  violations.Add("job.spec.b", "is unknown");
  EXPECT_EQ(ErrorText(violations.ToStatus()),
            "graft: the request cannot work:\n"
            "  job.spec.a: must be 1 or more\n"
            "  job.spec.b: is unknown\n");
  EXPECT_EQ(ErrorText(absl::NotFoundError("no job x")), "graft: no job x\n");
}

TEST(OutputTest, NumbersReadWell) {
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatCount(-1000), "-1,000");
  EXPECT_EQ(FormatCount(12), "12");
  EXPECT_EQ(FormatSeconds(4.24), "4.2s");
  EXPECT_EQ(FormatSeconds(83), "1m23s");
  EXPECT_EQ(FormatSeconds(7500), "2h05m");
}

TEST(OutputTest, OneLineCutsAtCharactersAndShowsNoControls) {
  const Utf8Locale locale;
  EXPECT_EQ(OneLine("a\nb\tc", 10), "a b?c");
  EXPECT_EQ(OneLine("ééééé", 4), "ééé…");
  EXPECT_EQ(OneLine("ééééé", 5), "ééééé");
  EXPECT_EQ(OneLine("\x7f\u009b\u00a0\u00e9", 9), "??\u00a0\u00e9");
}

TEST(OutputTest, WithoutUtf8TextsOfPeopleAreAscii) {
  const CLocale locale;
  EXPECT_EQ(OneLine("ééééé", 5), "?????");
  EXPECT_EQ(OneLine("ééééé", 4), "?...");
  EXPECT_EQ(OneLine("ééééé", 2), "..");
  Table table({"NAME"});
  table.AddRow({"训练"});
  EXPECT_EQ(table.ToString(), "NAME\n??\n");
  EXPECT_EQ(ErrorText(absl::NotFoundError("there is no “训练”")), "graft: there is no ????\n");
}

TEST(OutputTest, OneFactIsALineForPeopleAndAnObjectForPrograms) {
  EXPECT_EQ(OneFact(false, "deleted", "a", "deleted a"), "deleted a\n");
  EXPECT_EQ(OneFact(true, "deleted", "a\"b", ""), "{\"deleted\":\"a\\\"b\"}\n");
}

TEST(OutputTest, JsonKeepsTheNamesOfTheProto) {
  v1::Job job;
  job.set_display_name("x");
  EXPECT_EQ(ToJson(job), R"({"display_name":"x"})");
}

}  // namespace
}  // namespace graft
