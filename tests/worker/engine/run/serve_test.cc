#include "worker/engine/run/serve.h"

#include <gmock/gmock.h>
#include <unistd.h>
#include <map>

#include <algorithm>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/delimited_stream.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/base/unique_fd.h"
#include "graft/engine/v1/engine.pb.h"
#include "tests/worker/engine/run/serve_fixture.h"
#include "worker/engine/run/build_info.h"

namespace graft {
namespace {

using engine::v1::EngineCommand;
using engine::v1::EngineEvent;

int CountSteps(const std::vector<EngineEvent>& events) {
  int steps = 0;
  for (const EngineEvent& event : events) steps += event.job_event().has_metrics();
  return steps;
}

v1::Metrics LastMetrics(const std::vector<EngineEvent>& events) {
  v1::Metrics last;
  for (const EngineEvent& event : events) {
    if (event.job_event().has_metrics()) last = event.job_event().metrics();
  }
  return last;
}

engine::v1::Progress LastProgress(const std::vector<EngineEvent>& events) {
  engine::v1::Progress last;
  for (const EngineEvent& event : events) {
    if (event.has_progress()) last = event.progress();
  }
  return last;
}

std::string Sha256OfAdapter(const engine::v1::Finished& finished) {
  for (const v1::Artifact& file : finished.output()) {
    if (absl::EndsWith(file.path(), ".safetensors")) return file.sha256();
  }
  return "";
}

TEST_F(ServeTest, SaysHelloAndRunsAJobToItsEnd) {
  const EngineEvent hello = Read();
  ASSERT_TRUE(hello.has_hello());
  EXPECT_EQ(hello.hello().devices(0), "cpu");
  EXPECT_FALSE(hello.hello().version().empty());
  EXPECT_EQ(hello.hello().device(), "cpu");
  EXPECT_FALSE(hello.hello().cpu_capability().empty());
  EXPECT_EQ(hello.hello().libtorch(), kLibTorchVersion);
  EXPECT_EQ(hello.hello().code_sha256(), kCodeSha256);
  EXPECT_GT(hello.hello().memory_bytes(), 0);

  Send(RunCommand("a", 3));
  const std::vector<EngineEvent> events = ReadToEnd("a");
  EXPECT_EQ(CountSteps(events), 3);
  const engine::v1::Finished& finished = events.back().finished();
  ASSERT_EQ(finished.status().code(), 0) << finished.status().message();
  EXPECT_EQ(finished.result().adapter(), "result");
  EXPECT_EQ(finished.result().trainable_parameters(), 2 * 16);
  bool has_graft_json = false;
  for (const v1::Artifact& file : finished.output()) {
    EXPECT_EQ(*FileSize(Path("a/output/" + file.path())), file.size_bytes());
    EXPECT_EQ(*Sha256HexOfFile(Path("a/output/" + file.path())), file.sha256());
    has_graft_json = has_graft_json || file.path() == "graft.json";
  }
  EXPECT_TRUE(has_graft_json);
  EXPECT_FALSE(finished.peft_snippet().empty());
}

TEST_F(ServeTest, ACheckpointSaysHowItWasComputed) {
  const EngineEvent hello = Read();
  EngineCommand command = RunCommand("a", 3);
  v1::FineTuneSpec& spec = *command.mutable_run()->mutable_resolved_spec()->mutable_fine_tune();
  spec.mutable_training()->mutable_checkpoint()->set_every_steps(2);
  Send(command);
  std::vector<engine::v1::CheckpointWritten> checkpoints;
  for (const EngineEvent& event : ReadToEnd("a")) {
    if (event.has_checkpoint()) checkpoints.push_back(event.checkpoint());
  }
  ASSERT_EQ(checkpoints.size(), 1u);
  EXPECT_EQ(checkpoints[0].step(), 2);
  EXPECT_EQ(checkpoints[0].files_size(), 3);
  const v1::Execution& execution = checkpoints[0].execution();
  EXPECT_EQ(execution.device(), "cpu");
  EXPECT_EQ(execution.cpu_capability(), hello.hello().cpu_capability());
  EXPECT_EQ(execution.precision(), "fp32");
  EXPECT_EQ(execution.threads(), 1);
  EXPECT_EQ(execution.libtorch(), kLibTorchVersion);
  EXPECT_EQ(execution.code_sha256(), kCodeSha256);
}

TEST_F(ServeTest, ProgressGoesOnWhileItEvaluates) {
  EngineCommand command = RunCommand("a", 3);
  engine::v1::Run& run = *command.mutable_run();
  v1::FineTuneSpec& spec = *run.mutable_resolved_spec()->mutable_fine_tune();
  spec.mutable_training()->set_eval_every_steps(3);
  spec.mutable_evaluation()->set_max_samples(2);
  spec.mutable_evaluation()->set_max_new_tokens(4);
  spec.mutable_data()->set_validation("valid");
  run.set_validation_file(run.train_file());
  Send(command);
  engine::v1::Progress evaluation;
  for (const EngineEvent& event : ReadToEnd("a")) {
    if (event.progress().stage() == v1::JOB_STAGE_EVALUATING) evaluation = event.progress();
  }
  // Of 8 rows the loss, for 2 of them a text; and the steps stay what they were.
  EXPECT_EQ(evaluation.stage_done(), 10);
  EXPECT_EQ(evaluation.stage_total(), 10);
  EXPECT_EQ(evaluation.step(), 3);
  EXPECT_EQ(evaluation.total_steps(), 3);
}

TEST_F(ServeTest, CancelEndsARunningJobAndTheNextOneRuns) {
  Send(RunCommand("long", 100000));
  while (!Read().job_event().has_metrics()) ASSERT_FALSE(HasFailure());
  EngineCommand cancel = About("long");
  cancel.mutable_cancel();
  Send(cancel);
  const std::vector<EngineEvent> events = ReadToEnd("long");
  EXPECT_EQ(events.back().finished().status().code(),
            static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_GE(LastProgress(events).step(), std::max<int64_t>(1, LastMetrics(events).step()));
  Send(RunCommand("next", 1));
  EXPECT_EQ(ReadToEnd("next").back().finished().status().code(), 0);
}

TEST_F(ServeTest, APausedJobGoesOnInTheNextRunAsIfItHadNotBeen) {
  constexpr int kSteps = 400;  // More than it does before it hears.
  Send(RunCommand("whole", kSteps));
  const std::vector<EngineEvent> undisturbed = ReadToEnd("whole");
  ASSERT_EQ(undisturbed.back().finished().status().code(), 0);

  EngineCommand pause = About("paused");
  pause.mutable_pause();
  Send(RunCommand("paused", kSteps));
  EngineEvent event;
  do {
    event = Read();
    ASSERT_FALSE(HasFailure());
  } while (event.job_event().metrics().step() < 2);
  Send(pause);
  const std::vector<EngineEvent> events = ReadToEnd("paused");
  ASSERT_TRUE(events.back().finished().paused());
  int64_t saved = 0;
  for (const EngineEvent& one : events) {
    if (one.has_checkpoint()) saved = one.checkpoint().step();
  }
  ASSERT_GE(saved, 2);
  EngineCommand again = RunCommand("again", kSteps);
  again.mutable_run()->set_checkpoint_directory(
      absl::StrCat(Path("paused"), "/checkpoints/", saved));
  Send(again);
  const std::vector<EngineEvent> resumed = ReadToEnd("again");
  EXPECT_EQ(CountSteps(resumed), kSteps - saved);
  EXPECT_NE(Sha256OfAdapter(resumed.back().finished()), "");
  EXPECT_EQ(Sha256OfAdapter(resumed.back().finished()),
            Sha256OfAdapter(undisturbed.back().finished()));
}

TEST_F(ServeTest, APauseThatOvertakesItsJobHolds) {
  EngineCommand pause = About("early");
  pause.mutable_pause();
  Send(pause);
  Send(RunCommand("early", 100000));
  const std::vector<EngineEvent> events = ReadToEnd("early");
  EXPECT_EQ(CountSteps(events), 0);
  EXPECT_TRUE(events.back().finished().paused());
  Send(RunCommand("next", 1));
  EXPECT_EQ(ReadToEnd("next").back().finished().status().code(), 0);
}

TEST_F(ServeTest, ACancelThatOvertakesItsJobHolds) {
  EngineCommand cancel = About("early");
  cancel.mutable_cancel();
  Send(cancel);
  Send(RunCommand("early", 100000));
  const std::vector<EngineEvent> events = ReadToEnd("early");
  EXPECT_EQ(CountSteps(events), 0);
  EXPECT_EQ(events.back().finished().status().code(),
            static_cast<int>(absl::StatusCode::kCancelled));
}

TEST_F(ServeTest, AFencedJobDoesNoStepUntilTheFenceIsMoved) {
  EngineCommand fence = About("fenced");
  fence.mutable_fence()->set_boottime_ns(1);  // Long past.
  Send(fence);
  Send(RunCommand("fenced", 2));
  // Lifted only once the engine waits: it has said that it is loading.
  while (!Read().job_event().has_stage_change()) ASSERT_FALSE(HasFailure());
  timeval timeout = {0, 200'000};
  setsockopt(worker_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  char byte;
  // Progress may still come; a step may not.
  while (recv(worker_.get(), &byte, 1, MSG_PEEK) == 1) {
    const EngineEvent event = Read();
    ASSERT_FALSE(event.job_event().has_metrics());
    ASSERT_FALSE(event.has_finished());
  }
  timeout = {60, 0};
  setsockopt(worker_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  fence.mutable_fence()->set_boottime_ns(
      absl::ToInt64Nanoseconds(Clock::Real().Boottime() + absl::Hours(1)));
  Send(fence);
  const std::vector<EngineEvent> events = ReadToEnd("fenced");
  EXPECT_EQ(CountSteps(events), 2);
  EXPECT_EQ(events.back().finished().status().code(), 0);
}

TEST_F(ServeTest, ThePulseStandsStillAtTheFenceAndSaysThatItWaits) {
  EngineCommand fence = About("a");
  fence.mutable_fence()->set_boottime_ns(1);  // Long past.
  Send(fence);
  Send(RunCommand("a", 2));
  engine::v1::Progress waiting;
  while (!waiting.waiting()) {
    waiting = Read().progress();
    ASSERT_FALSE(HasFailure());
  }
  fence.mutable_fence()->set_boottime_ns(0);
  Send(fence);
  engine::v1::Progress last;
  int64_t pulse = 0;
  for (const EngineEvent& event : ReadToEnd("a")) {
    if (!event.has_progress()) continue;
    last = event.progress();
    EXPECT_GE(last.pulse(), pulse);
    pulse = last.pulse();
  }
  EXPECT_FALSE(last.waiting());
  EXPECT_GT(last.pulse(), waiting.pulse());
}

// Each job's words go where its worker wants them, from the engine's name on.
TEST_F(ServeTest, WordsGoToTheFileOfTheJob) {
  const int out = dup(STDOUT_FILENO), error = dup(STDERR_FILENO);
  for (const char* job : {"a", "b"}) {
    EngineCommand command = RunCommand(job, 1);
    command.set_log_file(Path(absl::StrCat(job, ".log")));
    Send(command);
    EXPECT_EQ(ReadToEnd(job).back().finished().status().code(), 0);
    (void)!write(STDERR_FILENO, job, 1);
  }
  dup2(out, STDOUT_FILENO);
  dup2(error, STDERR_FILENO);
  close(out);
  close(error);
  for (const char* job : {"a", "b"}) {
    const std::string words = ReadWhole(Path(absl::StrCat(job, ".log")));
    EXPECT_THAT(words, testing::StartsWith("graft-engine "));
    EXPECT_THAT(words, testing::EndsWith(absl::StrCat("\n", job)));
  }
}

TEST_F(ServeTest, FailuresNameTheirClass) {
  EngineCommand command = RunCommand("broken", 1);
  command.mutable_run()->set_train_file(folder_.Write("broken.jsonl", "{\"document\": 1}\n"));
  Send(command);
  const engine::v1::Finished finished = ReadToEnd("broken").back().finished();
  EXPECT_EQ(finished.failure_class(), v1::FAILURE_CLASS_DATA) << finished.status().message();
  EXPECT_THAT(finished.status().message(), testing::HasSubstr("line 1"));
}

TEST_F(ServeTest, GeneratesTokenByToken) {
  EngineCommand command = About("g1");
  engine::v1::Generate& generate = *command.mutable_generate();
  generate.mutable_request()->set_prompt("the cats");
  generate.mutable_request()->set_max_new_tokens(6);
  generate.set_base_model_directory(Path("model"));
  Send(command);
  const std::vector<EngineEvent> events = ReadToEnd("g1");
  int ids = 0;
  for (const EngineEvent& event : events) ids += event.generated().ids_size();
  const v1::GenerateResponse& last = events.back().generated();
  EXPECT_TRUE(last.done());
  EXPECT_EQ(last.new_tokens(), ids);
  EXPECT_EQ(last.finish_reason(), ids == 6 ? "max_new_tokens" : "end_of_text");

  command.set_job("g2");
  generate.set_base_model_directory(Path("nowhere"));
  Send(command);
  EXPECT_EQ(ReadToEnd("g2").back().finished().status().code(),
            static_cast<int>(absl::StatusCode::kNotFound));
}

TEST_F(ServeTest, TextsUnderOneNameAreToldApartAndCancelledByTheirRow) {
  // Enough to do that the others come meanwhile.
  std::map<int, std::vector<int>> ids;
  std::map<int, EngineEvent> last;
  for (const int row : {0, 1, 2}) {
    EngineCommand command = About("g1");
    command.set_row(row);
    engine::v1::Generate& generate = *command.mutable_generate();
    generate.mutable_request()->set_prompt("the cats");
    generate.mutable_request()->set_max_new_tokens(20);
    generate.mutable_request()->mutable_generation()->set_do_sample(true);
    generate.set_sequence(row);
    generate.set_base_model_directory(Path("model"));
    if (row == 1) {
      EngineCommand cancel = About("g1");
      cancel.set_row(1);
      cancel.mutable_cancel();
      Send(cancel);
    }
    Send(command);
  }
  while (last.size() < 3 && !HasFailure()) {
    const EngineEvent event = Read();
    if (event.has_hello()) continue;
    for (const int id : event.generated().ids()) ids[event.row()].push_back(id);
    if (event.generated().done() || event.has_finished()) last[event.row()] = event;
  }
  EXPECT_EQ(last[1].finished().status().code(), static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_TRUE(last[0].generated().done());
  EXPECT_EQ(last[2].generated().sequence(), 2);
  EXPECT_NE(ids[0], ids[2]) << "two samples are drawn by themselves";
}

TEST(ServeDeathTest, EndsAtOnceWhenTheWorkerIsGone) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        int fds[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) _exit(99);
        std::thread peer([&] {
          DelimitedReader reader(fds[0]);
          if (!reader.Read().ok()) _exit(98);  // Hello.
          close(fds[0]);
        });
        Serve(fds[1], {"cpu", 1});
        _exit(97);
      },
      testing::ExitedWithCode(kExitWorkerLost), "");
}

}  // namespace
}  // namespace graft
