#include <gmock/gmock.h>

#include "common/base/file.h"
#include "common/formats/safetensors.h"
#include "tests/worker/engine/session/session_fixture.h"

namespace graft {
namespace {

using testing::HasSubstr;

using GenerateTest = SessionTest;

TEST_F(GenerateTest, GenerateGivesTextTokenByToken) {
  GenerateRequest request;
  request.base_model.directory = Model();
  request.prompt = "the cats sat there and then the cats sat there again";
  request.max_new_tokens = 30;
  request.precision = Precision::kFp32;
  std::string text;
  int64_t tokens = 0;
  const auto outcome = session_->Generate(
      request,
      [&](int32_t id, const std::string& piece) {
        text += piece;
        tokens += id >= 0;
      },
      stop_);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->new_tokens, tokens);
  EXPECT_EQ(tokens, 30);
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(outcome->prompt_tokens, 18);  // n_positions 48 less 30.
  EXPECT_GT(outcome->prompt_tokens_cut, 0);
  request.max_new_tokens = 48;
  const absl::Status none = session_
                                ->Generate(
                                    request, [](int32_t, const std::string&) {}, stop_)
                                .status();
  EXPECT_EQ(none.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.message()), HasSubstr("max_new_tokens"));
}

TEST_F(GenerateTest, AShortModelGeneratesHalfOfWhatItHasRoomFor) {
  GenerateRequest request;
  request.base_model.directory = Model();
  request.prompt = "the cats sat there and then the cats sat there again and then they sat";
  request.precision = Precision::kFp32;
  const auto generate = [&] {
    return session_->Generate(
        request, [](int32_t, const std::string&) {}, stop_);
  };
  auto outcome = generate();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->new_tokens, 24);  // Of 48 positions.
  EXPECT_EQ(outcome->prompt_tokens, 24);
  request.prompt_template = "{source}\nTL;DR:";
  outcome = generate();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->prompt_tokens, 24);
  // What leaves no room for the template is said by the field of this request.
  request.max_new_tokens = 47;
  EXPECT_THAT(std::string(generate().status().message()),
              testing::StartsWith("max_new_tokens: only 1 position is left for the prompt, whose "
                                  "template alone takes "));
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
