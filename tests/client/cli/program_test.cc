#include "client/cli/program.h"

#include <map>

#include "client/cli/output.h"
#include "client/cli/usage.h"
#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/locale.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// What "graft WORDS..." prints and returns. Nothing that talks to a server.
struct Answer {
  int code = 0;
  std::string out, error;
};
Answer Graft(std::vector<const char*> words) {
  BlockInterrupts();
  words.insert(words.begin(), "graft");
  Answer answer;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  answer.code = RunGraft(static_cast<int>(words.size()), words.data());
  answer.out = testing::internal::GetCapturedStdout();
  answer.error = testing::internal::GetCapturedStderr();
  return answer;
}

TEST(ProgramTest, AloneItListsItsCommandsByGroup) {
  const Answer answer = Graft({});
  EXPECT_EQ(answer.code, kExitUsage);
  EXPECT_EQ(answer.out, "");
  for (const char* part :
       {"\nJobs\n", "\n  submit      Submit a fine-tune job\n", "\n  logs ",
        "\nA job's life: cancel, pause, resume, checkpoint, retry, continue, edit, delete\n",
        "\nModels, data and adapters\n", "\nChecks and settings: verify, rouge",
        "graft COMMAND --help"}) {
    EXPECT_THAT(answer.error, HasSubstr(part));
  }
  size_t length = 0, lines = 0;
  for (const char c : answer.error) {
    length = c == '\n' ? 0 : length + 1;
    lines += c == '\n';
    EXPECT_LE(length, 85u) << answer.error;
  }
  EXPECT_LE(lines, 24u);  // A terminal's.
}

TEST(ProgramTest, EveryCommandBelongsToAGroup) {
  CLI::App app;
  CliContext context;
  RunCommand run;
  AddCommands(app, context, run);
  for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    EXPECT_NE(command->get_group(), "Subcommands") << command->get_name();
  }
}

TEST(ProgramTest, AMistypedCommandGetsTheOneThatWasMeantAndTheList) {
  const Answer answer = Graft({"sumbit", "--rank", "3"});
  EXPECT_EQ(answer.code, kExitUsage);
  EXPECT_THAT(answer.error, StartsWith("graft: there is no graft sumbit; did you mean submit?\n"));
  EXPECT_THAT(answer.error, HasSubstr("\n  submit      Submit a fine-tune job\n"));
  const Answer far = Graft({"frobnicate"});
  EXPECT_EQ(far.code, kExitUsage);
  EXPECT_THAT(far.error, StartsWith("graft: there is no graft frobnicate\n"));
  const Answer nested = Graft({"adapters", "lst"});
  EXPECT_EQ(nested.code, kExitUsage);
  EXPECT_THAT(nested.error,
              StartsWith("graft: there is no graft adapters lst; did you mean list?"));
  EXPECT_THAT(nested.error, HasSubstr("\n  download "));
  EXPECT_THAT(nested.error, Not(HasSubstr("submit")));
  EXPECT_THAT(Graft({"adapters"}).error, HasSubstr("\n  download "));
}

TEST(ProgramTest, AMistypedFlagGetsTheOneThatWasMeantAndTheList) {
  const Answer answer = Graft({"submit", "--batchsize=4"});
  EXPECT_EQ(answer.code, kExitUsage);
  EXPECT_THAT(
      answer.error,
      StartsWith("graft: graft submit has no flag --batchsize; did you mean --batch-size?"));
  EXPECT_THAT(answer.error, HasSubstr("\n  Training    --epochs --max-steps"));
  EXPECT_THAT(Graft({"--jsn", "jobs"}).error, HasSubstr("did you mean --json?"));
}

TEST(ProgramTest, OtherMistakesComeWithAnExample) {
  const Answer lacking = Graft({"show"});
  EXPECT_EQ(lacking.code, kExitUsage);
  EXPECT_THAT(lacking.error, StartsWith("graft: graft show: job is required\n"));
  EXPECT_THAT(lacking.error, HasSubstr("graft show jobs/k3f9"));
  EXPECT_THAT(Graft({"show", "a", "b"}).error, HasSubstr("b is one word too many"));
  EXPECT_THAT(Graft({"jobs", "--limit", "many"}).error, HasSubstr("--limit"));
  EXPECT_THAT(Graft({"jobs", "--state", "runing"}).error, HasSubstr("did you mean running?"));
  EXPECT_THAT(Graft({"logs", "x", "--stream", "engin"}).error, HasSubstr("did you mean engine?"));
  EXPECT_THAT(Graft({"generate", "x", "--early-stopping", "nver"}).error,
              HasSubstr("did you mean never?"));
}

TEST(ProgramTest, HelpIsOnStandardOutputAndAsciiInTheCLocale) {
  const CLocale locale;
  for (const char* command : {"submit", "eval", "jobs", "show", "watch", "logs", "generate",
                              "verify", "rouge", "compare", "adapters", "models", "datasets"}) {
    const Answer answer = Graft({command, "--help"});
    EXPECT_EQ(answer.code, kExitDone) << answer.error;
    EXPECT_EQ(answer.error, "");
    EXPECT_THAT(answer.out, HasSubstr("Usage: "));
    for (const char c : answer.out) EXPECT_GT(c, 0) << answer.out;
    EXPECT_THAT(answer.out, Not(HasSubstr("?"))) << "written for UTF-8";
  }
}

TEST(UsageTest, DashesAndUnderscoresAreEqualInFlagsOnly) {
  EXPECT_THAT(FoldFlags({"submit", "--batch_size", "4", "--init_text=a_b", "c_d", "-f_g", "--",
                         "--not_a_flag"}),
              ElementsAre("submit", "--batch-size", "4", "--init-text=a_b", "c_d", "-f_g", "--",
                          "--not_a_flag"));
}

TEST(UsageTest, AValueIsTakenInAnySpelling) {
  std::string text = "Last-Layers";
  EXPECT_EQ(OneOf({"lora", "last_layers"})(text), "");
  EXPECT_EQ(text, "last_layers");
}

TEST(UsageTest, FieldsAreCalledAsTheFlagsThatGaveThem) {
  CLI::App app;
  double top_p = 0;
  std::string adapter;
  app.add_option("--top-p", top_p);
  app.add_option("--adapter", adapter);
  app.parse("--top-p 3");
  Violations violations;
  violations.Add("generation.top_p", "is 3");
  violations.Add("adapter", "is required");
  violations.Add("prompt", "is empty");
  const absl::Status named = NameFlags(app, violations.Explain(absl::NotFoundError("")));
  EXPECT_EQ(named.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(named.message(), "--top-p: is 3; adapter: is required; prompt: is empty");
  EXPECT_EQ(FieldViolationsOf(named)[0].field(), "--top-p");
  EXPECT_TRUE(NameFlags(app, absl::OkStatus()).ok());
}

}  // namespace
}  // namespace graft
