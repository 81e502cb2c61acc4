#include "client/cli/listing.h"

#include <cmath>

#include "client/cli/terminal.h"
#include "gmock/gmock.h"
#include "graft/v1/job.pb.h"
#include "gtest/gtest.h"
#include "tests/client/cli/locale.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// What a list of these jobs prints.
std::string Printed(OutputFormat format, const std::vector<v1::Job>& jobs) {
  ::testing::internal::CaptureStdout();
  Listing list(format, {{"JOB", "name"},
                        {"NAME~", "display_name"},
                        {"", "study"},
                        {"TOKENS>", "tokens"},
                        {"LOSS>", "loss"},
                        {"CREATED", "create_time"},
                        {"DONE", "done"}});
  for (const v1::Job& job : jobs) {
    list.Add(job, {{job.name()},
                   CutCell(job.display_name(), 8),
                   {job.study()},
                   CountCell(job.step()),
                   NumberCell(job.epoch(), 2),
                   TimeCell(job.create_time()),
                   BoolCell(job.done())});
  }
  EXPECT_EQ(list.size(), static_cast<int64_t>(jobs.size()));
  list.End();
  return ::testing::internal::GetCapturedStdout();
}

v1::Job AJob(const std::string& display_name) {
  v1::Job job;
  job.set_name("jobs/a");
  job.set_display_name(display_name);
  job.set_study("ranks");
  job.set_step(1234567);
  job.set_epoch(1.0 / 3);
  job.mutable_create_time()->set_seconds(1767225600);
  job.set_done(true);
  return job;
}

TEST(ListingTest, ATableIsForPeople) {
  const Utf8Locale locale;
  const ScopedEnvironment zone("TZ", "UTC");
  v1::Job empty;
  empty.set_epoch(std::nan(""));
  EXPECT_EQ(Printed(OutputFormat::kTable, {AJob("a name that is long"), empty}),
            "JOB     NAME         TOKENS  LOSS  CREATED              DONE\n"
            "jobs/a  a name …  1,234,567  0.33  2026-01-01 00:00:00  yes\n"
            "                          0     -  -\n");
}

TEST(ListingTest, CsvHasAllColumnsAndEachValueAsItIs) {
  v1::Job empty;
  empty.set_epoch(std::nan(""));
  EXPECT_EQ(Printed(OutputFormat::kCsv, {AJob("a name that is long"), empty}),
            "name,display_name,study,tokens,loss,create_time,done\r\n"
            "jobs/a,a name that is long,ranks,1234567,0.3333333333333333,2026-01-01T00:00:00Z,true"
            "\r\n,,,0,,,false\r\n");
}

TEST(ListingTest, WithoutAnyItemThereIsAHeaderButInJson) {
  EXPECT_EQ(Printed(OutputFormat::kTable, {}), "JOB  NAME  TOKENS  LOSS  CREATED  DONE\n");
  EXPECT_EQ(Printed(OutputFormat::kCsv, {}),
            "name,display_name,study,tokens,loss,create_time,done\r\n");
  EXPECT_EQ(Printed(OutputFormat::kMarkdown, {}),
            "| JOB | NAME | TOKENS | LOSS | CREATED | DONE |\n"
            "| --- | --- | ---: | ---: | --- | --- |\n");
  EXPECT_EQ(Printed(OutputFormat::kJson, {}), "");
}

TEST(ListingTest, JsonIsALineAnItem) {
  v1::Job job;
  job.set_display_name("a\nb\x1b[2J");
  EXPECT_EQ(Printed(OutputFormat::kJson, {job, job}),
            "{\"display_name\":\"a\\nb\\u001b[2J\"}\n{\"display_name\":\"a\\nb\\u001b[2J\"}\n");
}

TEST(ListingTest, AHostileNameStaysInItsCell) {
  const Utf8Locale locale;
  const ScopedEnvironment zone("TZ", "UTC");
  // Of eight columns, as the table has it.
  EXPECT_THAT(Printed(OutputFormat::kTable, {AJob("a\x1b[2J\r\nb")}), HasSubstr("  a?[2J? b  "));
  EXPECT_THAT(Printed(OutputFormat::kMarkdown, {AJob("a|\n*b*")}),
              HasSubstr("| jobs/a | a\\| \\*b\\* | 1,234,567 |"));
  EXPECT_THAT(Printed(OutputFormat::kCsv, {AJob("a\",\r\nb")}),
              HasSubstr("jobs/a,\"a\"\",\r\nb\",ranks,"));
  EXPECT_THAT(Printed(OutputFormat::kCsv, {AJob("=HYPERLINK(\"u\")")}),
              HasSubstr("jobs/a,\"'=HYPERLINK(\"\"u\"\")\",ranks,"));
  const std::string nul("a\0b", 3);
  EXPECT_THAT(Printed(OutputFormat::kCsv, {AJob(nul)}), HasSubstr("jobs/a," + nul + ",ranks,"));
}

TEST(ListingTest, JsonAndOutputAgree) {
  CliContext context;
  EXPECT_EQ(*FormatOf(context, ""), OutputFormat::kTable);
  EXPECT_EQ(*FormatOf(context, "csv"), OutputFormat::kCsv);
  EXPECT_EQ(*FormatOf(context, "json"), OutputFormat::kJson);
  context.json = true;
  EXPECT_EQ(*FormatOf(context, ""), OutputFormat::kJson);
  EXPECT_EQ(*FormatOf(context, "json"), OutputFormat::kJson);
  EXPECT_EQ(FormatOf(context, "csv").status().message(),
            "--json and --output csv are two things: give one of them");
}

}  // namespace
}  // namespace graft
