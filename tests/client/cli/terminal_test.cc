#include "client/cli/terminal.h"

#include <pty.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "gtest/gtest.h"
#include "tests/client/cli/locale.h"

namespace graft {
namespace {

TEST(TerminalTest, TheFirstVariableThatIsSetNamesTheLocale) {
  const ScopedEnvironment all("LC_ALL", nullptr), ctype("LC_CTYPE", nullptr);
  {
    const ScopedEnvironment lang("LANG", nullptr);
    EXPECT_FALSE(IsUtf8Locale());
  }
  const ScopedEnvironment lang("LANG", "de_DE.utf8");
  EXPECT_TRUE(IsUtf8Locale());
  const ScopedEnvironment more("LC_CTYPE", "C");
  EXPECT_FALSE(IsUtf8Locale());
  const ScopedEnvironment most("LC_ALL", "en_US.UTF-8");
  EXPECT_TRUE(IsUtf8Locale());
}

TEST(TerminalTest, NothingButAsciiIsPrintableInTheCLocale) {
  const std::string text = "naïve – 训练 … done\n";
  {
    const Utf8Locale locale;
    EXPECT_EQ(Printable(text), text);
  }
  const CLocale locale;
  EXPECT_EQ(Printable(text), "na?ve ? ?? ... done\n");
}

TEST(TerminalTest, NoTextMovesTheCursor) {
  const std::string text = "a\tb\n\x1b[2J\r\x07\x7f\u009b1m\u00a0";
  {
    const Utf8Locale locale;
    EXPECT_EQ(Printable(text), "a\tb\n?[2J????1m\u00a0");
  }
  const CLocale locale;
  EXPECT_EQ(Printable(text), "a\tb\n?[2J????1m?");
}

TEST(TerminalTest, CodesAreForTerminalsThatTakeThemAndColoursForThoseWhoWantThem) {
  int terminal = -1, screen = -1;
  ASSERT_EQ(openpty(&screen, &terminal, nullptr, nullptr, nullptr), 0);
  const absl::Cleanup close_both = [&] { close(screen), close(terminal); };
  const ScopedEnvironment term("TERM", "xterm"), colour("NO_COLOR", nullptr);
  EXPECT_TRUE(TakesEscapes(terminal));
  EXPECT_TRUE(TakesColour(terminal));
  {
    const ScopedEnvironment empty("NO_COLOR", "");
    EXPECT_TRUE(TakesColour(terminal));
    const ScopedEnvironment none("NO_COLOR", "1");
    EXPECT_FALSE(TakesColour(terminal));
    EXPECT_TRUE(TakesEscapes(terminal));  // A line is still redrawn.
  }
  for (const char* name : {"dumb", "", static_cast<const char*>(nullptr)}) {
    const ScopedEnvironment other("TERM", name);
    EXPECT_FALSE(TakesEscapes(terminal));
    EXPECT_FALSE(TakesColour(terminal));
  }
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(TakesEscapes(ends[1]));
  EXPECT_FALSE(TakesColour(ends[1]));
  close(ends[0]), close(ends[1]);
}

TEST(TerminalTest, AFileIsNeverDrawnOn) {
  const ScopedEnvironment term("TERM", "xterm");
  FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    LiveLine line(file);
    EXPECT_FALSE(line.live());
    line.Draw("17/150");
    line.Erase();
  }
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace graft
