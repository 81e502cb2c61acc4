#include "client/cli/terminal.h"

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
