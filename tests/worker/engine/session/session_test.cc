#include "worker/engine/session/session.h"

#include <gmock/gmock.h>

#include "common/base/file.h"
#include "common/methods/full.h"
#include "common/methods/lora.h"
#include "common/methods/soft_prompt.h"
#include "tests/worker/engine/session/session_fixture.h"
#include "tests/worker/engine/session/texts.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

using testing::Contains;
using testing::HasSubstr;

// Keeps how far the pulse had come whenever a stage began.
class PulseAtStages : public RecordingSink {
 public:
  explicit PulseAtStages(Pulse& pulse) : pulse_(pulse) {}
  void OnStage(const StageEvent& event) override {
    RecordingSink::OnStage(event);
    counts.push_back(pulse_.count());
  }
  std::vector<int64_t> counts;

 private:
  Pulse& pulse_;
};

// Polls, which a worker's job beats with, are not counted here: this is what is done between them.
TEST_F(SessionTest, EveryStageBeatsThePulse) {
  NoStop stop;
  PulseAtStages recorder(stop.pulse());
  FineTuneRequest request = LoraRequest();
  request.config.training.checkpoint_every_steps = 1;
  ASSERT_TRUE(session_->FineTune(request, recorder, stop).ok());
  recorder.counts.push_back(stop.pulse().count());
  ASSERT_EQ(recorder.stages.size(), 7u);  // As told above, and saving.
  for (size_t i = 0; i < recorder.stages.size(); ++i) {
    if (i == 5) continue;  // Nothing is trained after the last evaluation.
    EXPECT_LT(recorder.counts[i], recorder.counts[i + 1]) << "stage " << i;
  }

  PulseAtStages evaluating(stop.pulse());
  EvaluateRequest evaluate = MakeEvaluateRequest(Path("out"));
  evaluate.cache_directory = Path("empty");  // The model is there; so that rows are to be loaded.
  ASSERT_TRUE(session_->Evaluate(evaluate, evaluating, stop).ok());
  evaluating.counts.push_back(stop.pulse().count());
  ASSERT_EQ(evaluating.counts.size(), 3u);
  EXPECT_LT(evaluating.counts[0], evaluating.counts[1]);
  EXPECT_LT(evaluating.counts[1], evaluating.counts[2]);
}

TEST_F(SessionTest, FailuresCarryTheirClass) {
  FineTuneRequest broken = LoraRequest();
  broken.train.path =
      folder_.Write("broken.jsonl", "{\"document\": \"a\", \"summary\": \"b\"}\n{]\n");
  const absl::Status data = FineTuneError(broken);
  EXPECT_EQ(FailureClassOf(data), FailureClass::kData) << data;
  EXPECT_THAT(std::string(data.message()), HasSubstr("line 2"));

  FineTuneRequest rank = LoraRequest("rank");
  rank.config.method.Get<LoraConfig>().rank = 17;
  const absl::Status config = FineTuneError(rank);
  EXPECT_EQ(FailureClassOf(config), FailureClass::kConfig) << config;
  EXPECT_THAT(std::string(config.message()), HasSubstr("rank"));

  FineTuneRequest diverging = LoraRequest("diverging");
  diverging.config.training.learning_rates["lora"] = 1e30;
  const absl::Status diverged = FineTuneError(diverging);
  EXPECT_EQ(FailureClassOf(diverged), FailureClass::kDiverged) << diverged;
  EXPECT_FALSE(FileExists(Path("diverging/adapter_model.safetensors")));

  FineTuneRequest missing = LoraRequest("missing");
  missing.base_model.directory = Path("nowhere");
  EXPECT_EQ(FineTuneError(missing).code(), absl::StatusCode::kNotFound);
}

// The folder says where a model is to be read, its content which one it is.
TEST_F(SessionTest, AModelThatIsHeldIsKnownByItsContent) {
  const auto session = EngineSession::Create({"cpu", 1}).value();
  const auto text_of = [&](const BaseModel& base) -> std::string {
    GenerateRequest request;
    request.base_model = base;
    request.prompt = "the cats";
    const RecordedText text = MakeText(*session, request);
    return text.end->ok() ? text.text : std::string(text.end->status().message());
  };
  const std::string text = text_of({Model(), "one"});
  EXPECT_EQ(text_of({Path("elsewhere"), "one"}), text);
  EXPECT_EQ(text_of({Model(), "one"}), text);
  WriteTinyModel(Path("other"));
  EXPECT_THAT(text_of({Path("nowhere"), "two"}), HasSubstr("nowhere")) << "another content";
  EXPECT_EQ(text_of({Path("other"), "one"}), text);
}

TEST_F(SessionTest, InputsMayVanishOnceTheWorkHasBegun) {
  FineTuneRequest request = LoraRequest();
  RemoveAtStage training(recorder_, Stage::kTraining,
                         {request.train.path, request.validation.path});
  const auto tuned = session_->FineTune(request, recorder_, training);
  ASSERT_TRUE(tuned.ok()) << tuned.status();
  EXPECT_EQ(tuned->best.num_samples, 3);
  EXPECT_FALSE(FileExists(request.train.path));

  EvaluateRequest evaluate = MakeEvaluateRequest(Path("out"));
  RemoveAtStage evaluating(recorder_, Stage::kEvaluating, {evaluate.data.path, Path("out")});
  recorder_.stages.clear();
  const auto evaluated = session_->Evaluate(evaluate, recorder_, evaluating);
  ASSERT_TRUE(evaluated.ok()) << evaluated.status();
  EXPECT_EQ(evaluated->result.num_samples, 5);
  EXPECT_FALSE(FileExists(evaluate.data.path));

  WriteTinyModel(Path("base"));
  request = LoraRequest("full");
  request.base_model.directory = Path("base");
  request.config.method = MethodConfig();
  request.config.method.Set(FullConfig());
  RemoveAtStage writing(recorder_, Stage::kTraining, {Path("base")});
  recorder_.stages.clear();
  const auto full = session_->FineTune(request, recorder_, writing);
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_THAT(full->files, Contains("tokenizer.json"));
  EXPECT_TRUE(FileExists(Path("full/tokenizer.json")));
}

TEST_F(SessionTest, LengthsThatLeaveNoRoomForAPromptAreRefusedBeforeAnyWork) {
  FineTuneRequest request = LoraRequest();
  request.config.method.Get<SoftPromptConfig>().num_virtual_tokens = 4;
  request.config.evaluation.max_new_tokens = 43;  // Of the 44 positions that are left.
  const absl::Status tuning = FineTuneError(request);
  EXPECT_EQ(FailureClassOf(tuning), FailureClass::kConfig) << tuning;
  EXPECT_THAT(std::string(tuning.message()), HasSubstr("evaluation.max_new_tokens: 43 "));
  EXPECT_TRUE(recorder_.steps.empty());
  request.config.evaluation.max_samples = 0;
  request.output_directory = Path("without texts");
  FineTune(request);

  EvaluateRequest evaluate = MakeEvaluateRequest("");
  evaluate.config.evaluation.max_new_tokens = 47;
  recorder_.stages.clear();
  const absl::Status evaluating = session_->Evaluate(evaluate, recorder_, stop_).status();
  EXPECT_THAT(std::string(evaluating.message()), HasSubstr("evaluation.max_new_tokens: 47 "));
  EXPECT_EQ(recorder_.stages.size(), 1u) << "the loss pass must not have begun";
}

}  // namespace
}  // namespace graft
