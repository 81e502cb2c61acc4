#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "common/base/file.h"
#include "common/formats/safetensors.h"
#include "common/methods/last_layers.h"
#include "common/methods/soft_prompt.h"
#include "common/text/bpe.h"
#include "tests/worker/engine/session/session_fixture.h"
#include "tests/worker/engine/session/texts.h"
#include "worker/engine/failure.h"
#include "worker/engine/gpt2/tensor_limit.h"

namespace graft {
namespace {

using testing::HasSubstr;

class GenerateTest : public SessionTest {
 protected:
  GenerateRequest Request(const std::string& prompt, int64_t max_new_tokens,
                          const std::string& adapter = "") {
    GenerateRequest request;
    request.base_model.directory = Model();
    request.prompt = prompt;
    request.max_new_tokens = max_new_tokens;
    request.adapter_directory = adapter.empty() ? "" : Path(adapter);
    request.precision = Precision::kFp32;
    return request;
  }
  RecordedText Alone(const GenerateRequest& request) { return MakeText(*session_, request); }
  // The base's numbers are far from each other with an adapter that learned something.
  void MakeAdapters() {
    FineTuneRequest request = LoraRequest("lora");
    request.config.training.learning_rates["lora"] = 0.1;
    FineTune(request);
    request = LoraRequest("prompt");
    request.config.method = {};
    request.config.method.Set(SoftPromptConfig{.num_virtual_tokens = 3});
    request.config.training.learning_rates["soft_prompt"] = 1;
    FineTune(request);
    request = LoraRequest("last");
    request.config.method = {};
    request.config.method.Set(LastLayersConfig{.num_layers = 1});
    request.config.training.learning_rates["last_layers"] = 0.03;
    FineTune(request);
  }
};

TEST_F(GenerateTest, ATextComesTokenByToken) {
  GenerateRequest request = Request("the cats sat there and then the cats sat there again", 30);
  const RecordedText text = Alone(request);
  ASSERT_TRUE(text.end->ok()) << text.end->status();
  EXPECT_EQ((*text.end)->new_tokens, 30);
  EXPECT_EQ((*text.end)->end, TextEnd::kMaxNewTokens);
  EXPECT_EQ(text.ids.size(), 30u);
  EXPECT_FALSE(text.text.empty());
  EXPECT_EQ((*text.end)->prompt_tokens, 18);  // n_positions 48 less 30.
  EXPECT_GT((*text.end)->prompt_tokens_cut, 0);
  request.max_new_tokens = 48;
  const absl::Status none = Alone(request).end->status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.message()), HasSubstr("max_new_tokens"));
}

TEST_F(GenerateTest, AShortModelGeneratesHalfOfWhatItHasRoomFor) {
  GenerateRequest request =
      Request("the cats sat there and then the cats sat there again and then they sat", 1);
  request.max_new_tokens.reset();
  RecordedText text = Alone(request);
  ASSERT_TRUE(text.end->ok()) << text.end->status();
  EXPECT_EQ((*text.end)->new_tokens, 24);  // Of 48 positions.
  EXPECT_EQ((*text.end)->prompt_tokens, 24);
  request.prompt_template = "{source}\nTL;DR:";
  text = Alone(request);
  ASSERT_TRUE(text.end->ok()) << text.end->status();
  EXPECT_EQ((*text.end)->prompt_tokens, 24);
  // What leaves no room for the template is said by the field of this request.
  request.max_new_tokens = 47;
  EXPECT_THAT(std::string(Alone(request).end->status().message()),
              testing::StartsWith("max_new_tokens: only 1 position is left for the prompt, whose "
                                  "template alone takes "));
}

TEST_F(GenerateTest, TextsOfAllAdaptersInABatchAreWhatTheyAreAlone) {
  MakeAdapters();
  std::vector<GenerateRequest> requests;
  for (const char* prompt : {"the cats", "cats sat there and", "7"}) {
    for (const char* adapter : {"", "lora", "prompt", "last"}) {
      for (const bool sampled : {false, true}) {
        GenerateRequest request =
            Request(prompt, 4 + static_cast<int64_t>(requests.size()) % 9 * 3, adapter);
        request.generation.do_sample = sampled;
        request.generation.repetition_penalty = requests.size() % 3 == 0 ? 1.3 : 1;
        request.sequence = static_cast<int64_t>(requests.size());
        requests.push_back(request);
      }
    }
  }
  requests[5].generation.do_sample = false;
  requests[5].generation.num_beams = 3;
  RecordedTexts texts;
  for (const GenerateRequest& request : requests) texts.Add(request);
  ASSERT_TRUE(session_->GenerateTexts(texts, stop_).ok());
  std::set<std::vector<int32_t>> different;
  for (const RecordedText& text : texts.all) {
    ASSERT_TRUE(text.end.has_value() && text.end->ok());
    EXPECT_EQ(text.ids, Alone(text.request()).ids) << text.request().adapter_directory;
    different.insert(text.ids);
  }
  EXPECT_GT(different.size(), 8u) << "the adapters do not tell them apart";
}

TEST_F(GenerateTest, TextsComeAndGoWhileOthersAreMade) {
  RecordedTexts texts;
  RecordedText& first = texts.Add(Request("the cats sat", 20));
  first.on_token = [&] {
    // Longer than all before, and more than there is room for as yet.
    if (first.ids.size() != 5) return;
    for (int i = 0; i < 3; ++i) texts.Add(Request("the cats sat there and then they", 30));
    texts.Add(Request("cats", 2));
  };
  ASSERT_TRUE(session_->GenerateTexts(texts, stop_).ok());
  ASSERT_EQ(texts.all.size(), 5u);
  for (const RecordedText& text : texts.all) {
    EXPECT_EQ(text.ids, Alone(text.request()).ids);
    EXPECT_EQ(static_cast<int64_t>(text.ids.size()), *text.request().max_new_tokens);
  }
}

TEST_F(GenerateTest, ATextThatIsNotWantedAnyMoreEndsAlone) {
  RecordedTexts texts;
  RecordedText& first = texts.Add(Request("the cats sat", 20));
  RecordedText& second = texts.Add(Request("they", 20));
  first.on_token = [&] {
    if (first.ids.size() == 5) first.check = absl::CancelledError("gone");
  };
  ASSERT_TRUE(session_->GenerateTexts(texts, stop_).ok());
  EXPECT_TRUE(absl::IsCancelled(first.end->status()));
  EXPECT_EQ(first.ids.size(), 5u);
  EXPECT_EQ(second.ids, Alone(second.request()).ids);
}

TEST_F(GenerateTest, ABrokenAdapterFailsItsOwnText) {
  RecordedTexts texts;
  texts.Add(Request("the cats sat", 4, "nowhere"));
  texts.Add(Request("the cats sat", 4));
  ASSERT_TRUE(session_->GenerateTexts(texts, stop_).ok());
  EXPECT_THAT(std::string(texts.all.front().end->status().message()), HasSubstr("nowhere"));
  EXPECT_EQ(texts.all.back().ids.size(), 4u);
}

TEST_F(GenerateTest, AStopStringEndsTheTextWhereverItsTokensMeet) {
  GenerateRequest request = Request("the cats sat", 30);
  const RecordedText whole = Alone(request);
  ASSERT_GE(whole.text.size(), 12u);
  request.stop_strings = {"never there", whole.text.substr(5, 6)};
  const RecordedText text = Alone(request);
  EXPECT_EQ((*text.end)->end, TextEnd::kStopString);
  EXPECT_EQ(text.text, whole.text.substr(0, text.text.size()));
  EXPECT_THAT(text.text, HasSubstr(request.stop_strings[1]));
  EXPECT_LT(text.ids.size(), whole.ids.size());
}

TEST_F(GenerateTest, LogProbabilitiesAreThoseOfTheLogits) {
  GenerateRequest request = Request("the cats sat", 6);
  request.log_probabilities = true;
  request.generation.repetition_penalty = 1.5;  // Changes what is chosen, not what is told.
  RecordedTexts texts;
  texts.Add(request);
  texts.Add(Request("they", 6));
  ASSERT_TRUE(session_->GenerateTexts(texts, stop_).ok());
  const RecordedText& text = texts.all.front();
  LogitsRequest logits;
  logits.base_model.directory = Model();
  BpeTokenizer tokenizer = *BpeTokenizer::Load(Model());
  logits.rows = {*tokenizer.Encode(request.prompt)};
  const size_t prompt = logits.rows[0].size();
  logits.rows[0].insert(logits.rows[0].end(), text.ids.begin(), text.ids.end());
  logits.output_file = Path("logits.safetensors");
  ASSERT_TRUE(session_->DumpLogits(logits, stop_).ok());
  const auto file = SafetensorsFile::Open(logits.output_file);
  ASSERT_TRUE(file.ok());
  const TensorView* view = file->Find("logits.0");
  const auto* values = reinterpret_cast<const float*>(view->bytes.data());
  const auto vocabulary = static_cast<size_t>(view->shape[1]);
  for (size_t i = 0; i < text.ids.size(); ++i) {
    const float* row = values + (prompt - 1 + i) * vocabulary;
    double sum = 0;
    for (size_t id = 0; id < vocabulary; ++id) sum += std::exp(double{row[id]});
    EXPECT_NEAR(text.log_probabilities[i], row[text.ids[i]] - std::log(sum), 1e-4);
  }
  EXPECT_EQ(texts.all.back().log_probabilities, std::vector<float>(6, 0.0f));
}

// Says stop at one of its polls.
class StopsAt : public StopToken {
 public:
  explicit StopsAt(int poll) : left_(poll) {}
  absl::Status Poll() override {
    return left_-- > 0 ? absl::OkStatus() : absl::CancelledError("the job ends");
  }

 private:
  int left_;
};

TEST_F(GenerateTest, TextsThatWereLeftGoOnBehindWhatWasTold) {
  GenerateRequest sampled = Request("the cats sat", 30);
  sampled.generation.do_sample = true;
  for (const GenerateRequest& request : {sampled, Request("they", 30)}) {
    const RecordedText whole = Alone(request);
    RecordedTexts texts;
    texts.Add(request);
    StopsAt stop(12);
    EXPECT_TRUE(absl::IsCancelled(session_->GenerateTexts(texts, stop)));
    const RecordedText& begun = texts.all.front();
    EXPECT_FALSE(begun.end.has_value());
    ASSERT_GT(begun.ids.size(), 5u);
    GenerateRequest rest = request;
    rest.begun = begun.ids;
    const RecordedText end = Alone(rest);
    std::vector<int32_t> ids = begun.ids;
    ids.insert(ids.end(), end.ids.begin(), end.ids.end());
    EXPECT_EQ(ids, whole.ids);
    EXPECT_EQ(begun.text + end.text, whole.text);
    EXPECT_EQ((*end.end)->new_tokens, 30);
  }
}

// What texts became of with so much memory for tensors.
struct TextsWithin {
  std::vector<std::vector<int32_t>> ids;
  int made = 0;           // Those that came to their end.
  int out_of_memory = 0;  // Those that ended for want of it.
  size_t most = 0;        // That were under way at once.
};

TEST_F(GenerateTest, WithLittleMemoryFewerTextsAreMadeAtOnce) {
  constexpr int kTexts = 12;
  MakeAdapters();
  const auto make = [&](int64_t limit) {
    RecordedTexts texts;
    std::set<int> under_way;
    TextsWithin result;
    for (int i = 0; i < kTexts; ++i) {
      const char* const adapters[] = {"", "lora", "prompt", "last"};
      GenerateRequest request = Request("the cats sat there", 20, adapters[i % 4]);
      request.generation.do_sample = i % 2 == 1;
      request.sequence = i;
      RecordedText& text = texts.Add(request);
      text.on_token = [&, i] {
        text.ids.size() < 20 ? (void)under_way.insert(i) : (void)under_way.erase(i);
        result.most = std::max(result.most, under_way.size());
      };
    }
    LimitCpuTensors(limit);
    EXPECT_TRUE(session_->GenerateTexts(texts, stop_).ok());
    LimitCpuTensors(0);
    for (const RecordedText& text : texts.all) {
      EXPECT_TRUE(text.end.has_value());
      if (!text.end.has_value()) continue;
      ++(text.end->ok() ? result.made : result.out_of_memory);
      EXPECT_TRUE(text.end->ok() || IsOutOfMemory(text.end->status())) << text.end->status();
      result.ids.push_back(text.ids);
    }
    return result;
  };
  const TextsWithin whole = make(0);
  ASSERT_EQ(whole.made, kTexts);
  ASSERT_EQ(whole.most, static_cast<size_t>(kTexts));
  // From where all are made at once down to where none is.
  int64_t enough = int64_t{1} << 30, too_little = 1;
  while (enough - too_little > too_little / 64) {
    const int64_t limit = too_little + (enough - too_little) / 2;
    const TextsWithin within = make(limit);
    (within.made == kTexts && within.most == whole.most ? enough : too_little) = limit;
  }
  std::set<size_t> at_once;
  TextsWithin within;
  for (int64_t limit = enough; within.out_of_memory < kTexts; limit -= enough / 64) {
    ASSERT_GT(limit, 0);
    within = make(limit);
    if (within.made < kTexts) continue;
    at_once.insert(within.most);
    EXPECT_EQ(within.ids, whole.ids);
  }
  EXPECT_GE(at_once.size(), 3u) << "as memory becomes less, fewer and fewer at once";
  EXPECT_TRUE(at_once.contains(1));
}

TEST_F(GenerateTest, AnErrorOfAnAdapterNamesItsFileOnce) {
  FineTune(LoraRequest());
  ASSERT_TRUE(WriteFileAtomically(Path("out/adapter_config.json"), "no JSON").ok());
  LogitsRequest request;
  request.base_model.directory = Model();
  request.adapter_directory = Path("out");
  const std::string error(session_->DumpLogits(request, stop_).message());
  EXPECT_EQ(error.find(Path("out/adapter_config.json")), 0u) << error;
  EXPECT_EQ(error.rfind(Path("out")), 0u) << error;
}

TEST_F(GenerateTest, LogitsOfATrainedAdapterDifferFromTheBase) {
  FineTune(LoraRequest());
  LogitsRequest request;
  request.base_model.directory = Model();
  request.rows = {{1, 2, 3}, {5}};
  request.output_file = Path("base.safetensors");
  ASSERT_TRUE(session_->DumpLogits(request, stop_).ok());
  request.adapter_directory = Path("out");
  request.output_file = Path("tuned.safetensors");
  ASSERT_TRUE(session_->DumpLogits(request, stop_).ok());
  const auto tuned = SafetensorsFile::Open(Path("tuned.safetensors"));
  ASSERT_TRUE(tuned.ok());
  EXPECT_THAT(tuned->Find("logits.0")->shape, testing::ElementsAre(3, 512));
  EXPECT_NE(ReadWhole(Path("base.safetensors")), ReadWhole(Path("tuned.safetensors")));
}

}  // namespace
}  // namespace graft
