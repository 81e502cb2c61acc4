#include "common/text/bpe.h"

#include <gmock/gmock.h>

#include <functional>
#include <thread>

#include "common/base/utf8.h"
#include "tests/common/text/test_files.h"

namespace graft {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

BpeTokenizer LoadOrDie(const std::string& folder) {
  absl::StatusOr<BpeTokenizer> tokenizer = BpeTokenizer::Load(folder);
  if (!tokenizer.ok()) ADD_FAILURE() << tokenizer.status();
  return *std::move(tokenizer);
}

Json GoldenTokenizerJson() { return ReadJson(GoldenPath("bpe/tokenizer.json")); }

// The error of loading the golden tokenizer.json after `change`.
std::string ErrorAfter(const std::function<void(Json*)>& change) {
  const TemporaryFolder folder;
  Json file = GoldenTokenizerJson();
  change(&file);
  folder.Write("tokenizer.json", file.dump());
  const absl::StatusOr<BpeTokenizer> tokenizer = BpeTokenizer::Load(folder.path());
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tokenizer.status().message());
}

void ExpectEqualsGolden(const BpeTokenizer& tokenizer) {
  const Json cases = ReadJson(GoldenPath("bpe/cases.json"));
  ASSERT_GT(cases["encode"].size(), 200u);
  BpeTokenizer::EncodeOptions plain;
  plain.parse_special_tokens = false;
  for (const Json& row : cases["encode"]) {
    const auto text = row["text"].get<std::string>();
    const absl::StatusOr<Ids> ids = tokenizer.Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, row["ids"].get<Ids>()) << text;
    EXPECT_EQ(*tokenizer.Encode(text, plain), row["plain_ids"].get<Ids>()) << text;
  }
  for (const Json& row : cases["decode"]) {
    const auto ids = row["ids"].get<Ids>();
    EXPECT_EQ(ToValidUtf8(tokenizer.Decode(ids)), row["text"].get<std::string>());
    EXPECT_EQ(ToValidUtf8(tokenizer.DecodeWithoutSpecial(ids)),
              row["without_special"].get<std::string>());
  }
}

TEST(BpeTokenizerTest, EncodesAndDecodesLikeTokenizers) {
  const BpeTokenizer tokenizer = LoadOrDie(GoldenPath("bpe"));
  EXPECT_EQ(tokenizer.vocab_size(), 503);
  EXPECT_EQ(tokenizer.end_of_text_id(), 0);
  EXPECT_TRUE(tokenizer.IsSpecial(0));
  EXPECT_FALSE(tokenizer.IsSpecial(500));
  ExpectEqualsGolden(tokenizer);
}

TEST(BpeTokenizerTest, MergesMayBeStringsOrPairs) {
  Json file = GoldenTokenizerJson();
  ASSERT_TRUE(file["model"]["merges"][0].is_array());
  for (Json& merge : file["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const TemporaryFolder folder;
  folder.Write("tokenizer.json", file.dump());
  ExpectEqualsGolden(LoadOrDie(folder.path()));
}

// transformers 5 writes one of these, which adds nothing.
TEST(BpeTokenizerTest, ATemplateMayHoldTheTextAlone) {
  Json file = GoldenTokenizerJson();
  file["post_processor"] = Json::parse(
      R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
          "pair": [], "special_tokens": {}})");
  const TemporaryFolder folder;
  folder.Write("tokenizer.json", file.dump());
  ExpectEqualsGolden(LoadOrDie(folder.path()));
}

// Writes the golden tokeniser in the older form of several files.
void WriteVocabAndMerges(const TemporaryFolder& folder, const std::string& line_end) {
  const Json file = GoldenTokenizerJson();
  folder.Write("vocab.json", file["model"]["vocab"].dump());
  std::string merges = "#version: 0.2" + line_end;
  for (const Json& merge : file["model"]["merges"]) {
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + line_end;
  }
  folder.Write("merges.txt", merges);
  Json decoder;
  for (const Json& token : file["added_tokens"]) {
    decoder[std::to_string(token["id"].get<int>())] = token;
  }
  folder.Write("tokenizer_config.json", Json{{"added_tokens_decoder", decoder}}.dump());
}

TEST(BpeTokenizerTest, ReadsVocabAndMergesWithAddedTokensOfTheConfig) {
  for (const char* line_end : {"\n", "\r\n"}) {
    const TemporaryFolder folder;
    WriteVocabAndMerges(folder, line_end);
    ExpectEqualsGolden(LoadOrDie(folder.path()));
  }
}

// Real merges seldom cross the border of two classes, since they were learned from pieces: these
// show where the pieces end.
TEST(BpeTokenizerTest, NoMergeCrossesFromOneClassToAnother) {
  struct Crossing {
    const char* text;
    const char* left;   // The byte-level characters that would merge: the text's first byte,
    const char* right;  // and the first of what follows it.
  };
  const std::vector<Crossing> crossings = {
      {"a1", "a", "1"},           {"1a", "1", "a"},           {"a\u00b2", "a", "\u00c2"},
      {"a\u0663", "a", "\u00d9"}, {"a\u2167", "a", "\u00e2"}, {"a.", "a", "."},
      {".a", ".", "a"},           {"1.", "1", "."},           {".1", ".", "1"},
  };
  Json file = GoldenTokenizerJson();
  Json merges = Json::array();
  for (const Crossing& crossing : crossings) {
    merges.push_back({crossing.left, crossing.right});
    Json& vocab = file["model"]["vocab"];
    const std::string merged = std::string(crossing.left) + crossing.right;
    if (!vocab.contains(merged)) vocab[merged] = 600 + static_cast<int>(merges.size());
  }
  for (const Json& merge : file["model"]["merges"]) merges.push_back(merge);
  file["model"]["merges"] = merges;
  const TemporaryFolder folder;
  folder.Write("tokenizer.json", file.dump());
  const BpeTokenizer tokenizer = LoadOrDie(folder.path());
  for (const Crossing& crossing : crossings) {
    const absl::StatusOr<Ids> ids = tokenizer.Encode(crossing.text);
    ASSERT_TRUE(ids.ok()) << crossing.text << ": " << ids.status();
    EXPECT_EQ(ids->front(), file["model"]["vocab"][crossing.left].get<int32_t>()) << crossing.text;
  }
  // With both sides in one class they do merge.
  file["model"]["merges"][0] = {"a", "q"};
  file["model"]["vocab"]["aq"] = 700;
  folder.Write("tokenizer.json", file.dump());
  EXPECT_THAT(*LoadOrDie(folder.path()).Encode("aq"), ElementsAre(700));
}

TEST(BpeTokenizerTest, EndOfTextIsSpecialWithoutAnyConfig) {
  const TemporaryFolder folder;
  WriteVocabAndMerges(folder, "\n");
  ASSERT_TRUE(RemoveFile(folder.path() + "/tokenizer_config.json").ok());
  const BpeTokenizer tokenizer = LoadOrDie(folder.path());
  EXPECT_THAT(*tokenizer.Encode("<|endoftext|>"), ElementsAre(0));
  EXPECT_TRUE(tokenizer.IsSpecial(0));
}

TEST(BpeTokenizerTest, EosTokenOfTheConfigStandsInForEndOfText) {
  const TemporaryFolder folder;
  Json file = GoldenTokenizerJson();
  file["added_tokens"][0]["content"] = "</s>";
  file["model"]["vocab"].erase("<|endoftext|>");
  file["model"]["vocab"]["</s>"] = 0;
  folder.Write("tokenizer.json", file.dump());
  EXPECT_THAT(std::string(BpeTokenizer::Load(folder.path()).status().message()),
              HasSubstr("no token \"<|endoftext|>\""));
  folder.Write("special_tokens_map.json", R"({"eos_token": {"content": "</s>"}})");
  EXPECT_EQ(LoadOrDie(folder.path()).end_of_text_id(), 0);
}

TEST(BpeTokenizerTest, RefusesInvalidUtf8WithItsOffset) {
  const BpeTokenizer tokenizer = LoadOrDie(GoldenPath("bpe"));
  const struct {
    std::string text;
    int offset;
  } cases[] = {
      {"abc\xFF", 3},          {"\xC3", 0},         {"é\xC0\x80", 2},          {"x\xED\xA0\x80", 1},
      {"\xF4\x90\x80\x80", 0}, {"12345678\x80", 8}, {"12345678é1\xE2\x82", 11}};
  for (const auto& c : cases) {
    Ids ids = {7};
    const absl::Status status = tokenizer.EncodeTo(c.text, {}, &ids);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("offset " + std::to_string(c.offset)));
    EXPECT_THAT(ids, ElementsAre(7));
  }
}

TEST(BpeTokenizerTest, NamesAByteThatTheVocabularyLacks) {
  const TemporaryFolder folder;
  Json file = GoldenTokenizerJson();
  file["model"]["vocab"].erase("q");
  Json merges = Json::array();
  for (const Json& merge : file["model"]["merges"]) {
    if (merge[0] != "q" && merge[1] != "q") merges.push_back(merge);
  }
  file["model"]["merges"] = merges;
  folder.Write("tokenizer.json", file.dump());
  const BpeTokenizer tokenizer = LoadOrDie(folder.path());
  EXPECT_TRUE(tokenizer.Encode("ab").ok());
  EXPECT_THAT(std::string(tokenizer.Encode("a bq").status().message()),
              HasSubstr("no token for the byte 0x71 at offset 3"));
}

TEST(BpeTokenizerTest, NamesWhatIsNotGpt2) {
  const auto set = [](const char* pointer, Json value) {
    return ErrorAfter([=](Json* file) { (*file)[Json::json_pointer(pointer)] = value; });
  };
  EXPECT_THAT(set("/normalizer", {{"type", "NFC"}}), HasSubstr("normalizer is {\"type\":\"NFC\"}"));
  EXPECT_THAT(set("/pre_tokenizer/type", "Whitespace"), HasSubstr("pre_tokenizer is"));
  EXPECT_THAT(set("/pre_tokenizer/add_prefix_space", true), HasSubstr("add_prefix_space is true"));
  EXPECT_THAT(set("/pre_tokenizer/use_regex", false), HasSubstr("use_regex is false"));
  EXPECT_THAT(set("/post_processor", {{"type", "BertProcessing"}}), HasSubstr("post_processor is"));
  const Json begin = {{"SpecialToken", {{"id", "<|endoftext|>"}}}};
  const Json text = {{"Sequence", {{"id", "A"}}}};
  EXPECT_THAT(set("/post_processor", {{"type", "TemplateProcessing"}, {"single", {begin, text}}}),
              HasSubstr("post_processor.single is"));
  EXPECT_THAT(set("/decoder", {{"type", "WordPiece"}}), HasSubstr("decoder is"));
  EXPECT_THAT(set("/model/type", "WordPiece"), HasSubstr("model.type is \"WordPiece\""));
  EXPECT_THAT(set("/model/dropout", 0.1), HasSubstr("model.dropout is 0.1"));
  EXPECT_THAT(set("/model/byte_fallback", true), HasSubstr("model.byte_fallback is true"));
  EXPECT_THAT(set("/model/ignore_merges", true), HasSubstr("model.ignore_merges is true"));
  EXPECT_THAT(set("/model/end_of_word_suffix", "</w>"), HasSubstr("model.end_of_word_suffix is"));
  EXPECT_THAT(set("/added_tokens/0/single_word", true),
              HasSubstr("added_tokens[0]: single_word is true"));
}

TEST(BpeTokenizerTest, NamesWhatIsBrokenInTheFile) {
  const auto set = [](const char* pointer, Json value) {
    return ErrorAfter([=](Json* file) { (*file)[Json::json_pointer(pointer)] = value; });
  };
  EXPECT_THAT(set("/model/merges/3", {"a"}), HasSubstr("tokenizer.json: model.merges: [3]"));
  EXPECT_THAT(set("/model/merges/3", {"a", "☃"}), HasSubstr("\"☃\" is not in the vocabulary"));
  EXPECT_THAT(set("/model/merges", "x"), HasSubstr("model.merges: must be a list"));
  EXPECT_THAT(set("/model/vocab/new", 5), HasSubstr("the id 5, which another token has"));
  EXPECT_THAT(set("/model/vocab/new", -1), HasSubstr("not -1"));
  EXPECT_THAT(set("/model/vocab/new", 99999999999), HasSubstr("not 99999999999"));
  EXPECT_THAT(set("/model/vocab", nullptr), HasSubstr("model.vocab is missing"));
  EXPECT_THAT(set("/added_tokens/1/id", 3), HasSubstr("the id 3, which another token has"));
  EXPECT_THAT(set("/added_tokens/0/id", 3), HasSubstr("but 0 in the vocabulary"));
  EXPECT_THAT(set("/added_tokens/1/content", ""), HasSubstr("an added token is empty"));
}

TEST(BpeTokenizerTest, NamesBrokenFilesWithTheirPosition) {
  const TemporaryFolder folder;
  EXPECT_EQ(BpeTokenizer::Load(folder.path()).status().code(), absl::StatusCode::kNotFound);
  folder.Write("vocab.json", "{\"a\": 0,");
  folder.Write("merges.txt", "#version: 0.2\na b\nx\n");
  EXPECT_THAT(std::string(BpeTokenizer::Load(folder.path()).status().message()),
              HasSubstr("vocab.json: "));
  folder.Write("vocab.json", R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})");
  EXPECT_THAT(std::string(BpeTokenizer::Load(folder.path()).status().message()),
              HasSubstr("merges.txt: line 3: must be two tokens"));
}

TEST(BpeTokenizerTest, ThreadsShareATokenizer) {
  const BpeTokenizer tokenizer = LoadOrDie(GoldenPath("bpe"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { ExpectEqualsGolden(tokenizer); });
  for (std::thread& thread : threads) thread.join();
}

TEST(BpeTokenizerTest, IdsWithoutATokenDecodeToNothing) {
  const BpeTokenizer tokenizer = LoadOrDie(GoldenPath("bpe"));
  EXPECT_EQ(tokenizer.Decode({-1, 503, 1 << 30}), "");
  EXPECT_FALSE(tokenizer.IsSpecial(-1));
}

TEST(StreamDecoderTest, GivesOutWholeCharactersOnly) {
  const BpeTokenizer tokenizer = LoadOrDie(GoldenPath("bpe"));
  const std::string text = "a 👩\u200d👩 日本 é!";
  const Ids ids = *tokenizer.Encode(text);
  StreamDecoder decoder(tokenizer);
  std::string joined;
  for (const int32_t id : ids) {
    const std::string piece = decoder.Push(id);
    EXPECT_EQ(FindInvalidUtf8(piece), std::string::npos);
    EXPECT_THAT(piece, testing::Not(HasSubstr("\uFFFD")));
    joined += piece;
  }
  EXPECT_EQ(joined + decoder.Finish(), text);
}

TEST(StreamDecoderTest, JoinsToWhatTheWholeDecodesTo) {
  const BpeTokenizer tokenizer = LoadOrDie(GoldenPath("bpe"));
  const Json cases = ReadJson(GoldenPath("bpe/cases.json"));
  for (const Json& row : cases["decode"]) {
    StreamDecoder decoder(tokenizer);
    std::string joined;
    for (const int32_t id : row["ids"].get<Ids>()) joined += decoder.Push(id);
    EXPECT_EQ(joined + decoder.Finish(), row["text"].get<std::string>());
  }
}

TEST(BpeTokenizerRealDataTest, EqualsTheFixturesOfGpt2) {
  const std::string fixtures = SharedDataPath("gpt2_tokenizer/fixtures.jsonl");
  SKIP_WITHOUT(fixtures);
  const BpeTokenizer tokenizer = LoadOrDie(SharedDataPath("gpt2_tokenizer"));
  const BpeTokenizer from_json = LoadOrDie(SharedDataPath("models/hf_tiny_gpt2"));
  EXPECT_EQ(tokenizer.vocab_size(), 50257);
  EXPECT_EQ(tokenizer.end_of_text_id(), 50256);
  BpeTokenizer::EncodeOptions plain;  // the fixtures take "<|endoftext|>" for text
  plain.parse_special_tokens = false;
  std::istringstream lines(ReadWhole(fixtures));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json row = Json::parse(line);
    const auto text = row["text"].get<std::string>();
    const auto ids = row["ids"].get<Ids>();
    EXPECT_EQ(*tokenizer.Encode(text, plain), ids) << text;
    EXPECT_EQ(*from_json.Encode(text, plain), ids) << text;
    EXPECT_EQ(tokenizer.Decode(ids), text);
  }
  EXPECT_EQ(count, 384);
}

TEST(BpeTokenizerRealDataTest, DecodingIsTheExactInverseOnRealText) {
  const std::string path = SharedDataPath("cnn_dailymail/valid.jsonl");
  SKIP_WITHOUT(path);
  const BpeTokenizer tokenizer = LoadOrDie(SharedDataPath("gpt2_tokenizer"));
  const std::string text = ReadWhole(path);
  EXPECT_EQ(tokenizer.Decode(*tokenizer.Encode(text)), text);
}

}  // namespace
}  // namespace graft
