#include "client/cli/man_page.h"

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "client/cli/program.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class ManPageTest : public ::testing::Test {
 protected:
  ManPageTest() { AddCommands(app_, context_, run_); }

  CLI::App app_;
  CliContext context_;
  RunCommand run_;
};

TEST_F(ManPageTest, SaysWhatTheHelpSays) {
  const std::string page = ManPage(*app_.get_subcommand("jobs"));
  for (const char* part :
       {".TH GRAFT\\-JOBS 1 \"\" \"graft ", ".SH NAME\ngraft\\-jobs \\- List jobs, newest first\n",
        ".SH SYNOPSIS\n.B graft jobs\n[\\fIOPTIONS\\fR]", ".SH OPTIONS\n.TP\n",
        ".B \\-\\-limit INT\nAt most this many (INT in [1 \\- 1000000]) [50]\n",
        ".SH EXAMPLE\n.nf\n  graft jobs \\-\\-state running \\-\\-limit 10\n.fi\n",
        ".SH SEE ALSO\n.BR graft (1)\n"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(ManPage(*app_.get_subcommand("show")), HasSubstr("\\fIjob\\fR"));
  EXPECT_THAT(ManPage(app_), HasSubstr(".BR graft\\-adapters (1)\nAdapters: list, show"));
  EXPECT_THAT(ManPage(app_), HasSubstr("\nExit codes: 0 done, 1 failed"));
}

TEST_F(ManPageTest, EveryCommandHasAPageOfItsOwnInWhichNoTextIsARequest) {
  std::set<std::string> names;
  for (const CLI::App* command : WithSubcommands(app_)) {
    EXPECT_TRUE(names.insert(ManPageName(*command)).second);
    for (const absl::string_view line : absl::StrSplit(ManPage(*command), '\n')) {
      if (!absl::StartsWith(line, ".")) continue;
      const absl::string_view request = line.substr(0, line.find(' '));
      EXPECT_THAT((std::set<absl::string_view>{".TH", ".SH", ".SS", ".TP", ".B", ".BR", ".I", ".nf",
                                               ".fi"}),
                  ::testing::Contains(request))
          << line;
    }
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"graft", "graft-submit", "graft-adapters-merge"}));
}

}  // namespace
}  // namespace graft
