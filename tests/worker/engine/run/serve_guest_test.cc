// Texts that an engine makes while it runs a job.

#include <gmock/gmock.h>

#include <map>

#include "common/base/sha256.h"
#include "tests/worker/engine/run/serve_fixture.h"
#include "worker/engine/run/serve.h"

namespace graft {
namespace {

using engine::v1::EngineCommand;
using engine::v1::EngineEvent;

class ServeGuestTest : public ServeTest {
 protected:
  // A LoRA job with dropout that evaluates on its way, texts included.
  EngineCommand LoraCommand(const std::string& job, int steps = 6, int threads = 1) {
    EngineCommand command = RunCommand(job, steps);
    engine::v1::Run& run = *command.mutable_run();
    v1::FineTuneSpec& spec = *run.mutable_resolved_spec()->mutable_fine_tune();
    spec.mutable_method()->clear_soft_prompt();
    spec.mutable_method()->mutable_lora()->set_rank(2);
    spec.mutable_method()->mutable_lora()->set_dropout(0.3);
    spec.mutable_training()->set_threads(threads);
    spec.mutable_training()->set_eval_every_steps(2);
    spec.mutable_training()->set_gradient_accumulation_steps(2);
    spec.mutable_evaluation()->set_max_samples(2);
    spec.mutable_evaluation()->set_max_new_tokens(4);
    spec.mutable_data()->set_validation("valid");
    run.set_validation_file(run.train_file());
    run.set_base_model_sha256("tiny");
    return command;
  }
  EngineCommand Text(const std::string& name, int tokens = 20, const std::string& base = "tiny") {
    EngineCommand command = About(name);
    engine::v1::Generate& generate = *command.mutable_generate();
    generate.mutable_request()->set_prompt("the cats");
    generate.mutable_request()->set_max_new_tokens(tokens);
    generate.mutable_request()->mutable_generation()->set_do_sample(true);
    generate.set_base_model_directory(Path("model"));
    generate.set_base_model_sha256(base);
    return command;
  }
  // Reads until each of them has ended; the events of each, and who ended when.
  std::map<std::string, std::vector<EngineEvent>> ReadAll(std::vector<std::string> names) {
    std::map<std::string, std::vector<EngineEvent>> events;
    while (ended_.size() < names.size() && !HasFailure()) {
      EngineEvent event = Read();
      if (event.has_finished() || event.generated().done()) ended_.push_back(event.job());
      events[event.job()].push_back(std::move(event));
    }
    return events;
  }
  std::string Sha256(const std::string& job) {
    return Sha256HexOfFile(Path(job + "/output/adapter_model.safetensors")).value_or("none");
  }
  static std::vector<int> Ids(const std::vector<EngineEvent>& events) {
    std::vector<int> ids;
    for (const EngineEvent& event : events) {
      ids.insert(ids.end(), event.generated().ids().begin(), event.generated().ids().end());
    }
    return ids;
  }

  static std::vector<double> Losses(const std::vector<EngineEvent>& events) {
    std::vector<double> losses;
    for (const EngineEvent& event : events) {
      if (!event.job_event().has_metrics()) continue;
      losses.push_back(event.job_event().metrics().values().at("train/loss"));
    }
    return losses;
  }

  std::vector<std::string> ended_;
};

TEST_F(ServeGuestTest, ATextBetweenTwoStepsLeavesTheJobsNumbersAlone) {
  for (const int threads : {1, 2}) {
    const std::string alone = absl::StrCat("alone", threads), beside = absl::StrCat("job", threads);
    Send(LoraCommand(alone, 6, threads));
    const std::vector<EngineEvent> wanted = ReadToEnd(alone);
    ASSERT_EQ(wanted.back().finished().status().code(), 0)
        << wanted.back().finished().status().message();

    ended_.clear();
    Send(LoraCommand(beside, 6, threads));
    std::vector<std::string> names = {beside};
    for (int i = 0; i < 20; ++i) {
      names.push_back(absl::StrCat("g", threads, "-", i));
      Send(Text(names.back()));
    }
    auto events = ReadAll(names);
    EXPECT_EQ(ended_.back(), beside) << "a text waited for the job's end";
    EXPECT_EQ(Sha256(beside), Sha256(alone)) << threads << " threads";
    EXPECT_EQ(Losses(events[beside]), Losses(wanted));
    EXPECT_EQ(Ids(events[names[1]]), Ids(events[names[2]]));
  }
}

TEST_F(ServeGuestTest, ATextThatIsCancelledEndsAndTheJobGoesOn) {
  EngineCommand cancel = About("g");
  cancel.mutable_cancel();
  Send(LoraCommand("job"));
  Send(cancel);
  Send(Text("g"));
  const auto events = ReadAll({"job", "g"});
  EXPECT_EQ(ended_.front(), "g");
  EXPECT_EQ(events.at("g").back().finished().status().code(),
            static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_EQ(events.at("job").back().finished().status().code(), 0);
}

TEST_F(ServeGuestTest, AnotherBaseModelIsNotLoadedBesideAJob) {
  Send(LoraCommand("job"));
  Send(Text("g", 20, "another"));
  const auto events = ReadAll({"job", "g"});
  EXPECT_EQ(ended_.front(), "g");
  EXPECT_EQ(events.at("g").back().finished().status().code(),
            static_cast<int>(absl::StatusCode::kUnavailable));
  EXPECT_EQ(events.at("job").back().finished().status().code(), 0);
}

TEST_F(ServeGuestTest, TheFenceOfTheJobHoldsForTheText) {
  EngineCommand fence = About("job");
  fence.mutable_fence()->set_boottime_ns(1);  // Long past.
  Send(fence);
  Send(LoraCommand("job"));
  Send(Text("g"));
  while (!Read().progress().waiting()) ASSERT_FALSE(HasFailure());
  fence.mutable_fence()->set_boottime_ns(0);
  Send(fence);
  // What was said before is not kept: a text that had begun would have ended.
  const auto events = ReadAll({"job", "g"});
  EXPECT_EQ(Ids(events.at("g")).size(), 20u);
}

// A model with room for texts that take a while.
class ServeLongTextTest : public ServeGuestTest {
 protected:
  void SetUp() override {
    ServeGuestTest::SetUp();
    Gpt2Config config = TinyConfig();
    config.n_positions = 2048;
    WriteTinyModel(Path("long"), config);
  }
  EngineCommand LongText(const std::string& name) {
    EngineCommand command = Text(name, 2000, "long");
    command.mutable_generate()->set_base_model_directory(Path("long"));
    // Some seed with which the end of the text stays away.
    command.mutable_generate()->mutable_request()->mutable_generation()->set_top_k(3);
    return command;
  }
};

TEST_F(ServeLongTextTest, AJobThatIsCancelledEndsAtOnceAndItsGuestGoesOnWithoutIt) {
  EngineCommand run = LoraCommand("before", 1);
  run.mutable_run()->set_base_model_sha256("long");
  run.mutable_run()->set_base_model_directory(Path("long"));
  Send(run);  // So that both texts are made in its precision.
  ReadToEnd("before");
  Send(LongText("alone"));
  const std::vector<int> wanted = Ids(ReadToEnd("alone"));
  ASSERT_GT(wanted.size(), 100u);

  run = LoraCommand("job", 100000);
  run.mutable_run()->set_base_model_sha256("long");
  run.mutable_run()->set_base_model_directory(Path("long"));
  Send(run);
  Send(LongText("g"));
  std::vector<EngineEvent> begun;
  while (begun.empty()) {
    EngineEvent event = Read();
    ASSERT_FALSE(HasFailure());
    if (event.job() == "g" && event.generated().ids_size() > 0) begun.push_back(event);
  }
  EngineCommand cancel = About("job");
  cancel.mutable_cancel();
  Send(cancel);
  auto events = ReadAll({"job", "g"});
  EXPECT_EQ(ended_.front(), "job");
  EXPECT_EQ(events["job"].back().finished().status().code(),
            static_cast<int>(absl::StatusCode::kCancelled));
  events["g"].insert(events["g"].begin(), begun.begin(), begun.end());
  EXPECT_EQ(Ids(events["g"]), wanted) << "what was told is told once";
}

}  // namespace
}  // namespace graft
