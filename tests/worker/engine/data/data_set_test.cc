#include "worker/engine/data/data_set.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/jobs/row_split.h"
#include "common/text/example_builder.h"
#include "tests/common/text/test_files.h"
#include "worker/engine/failure.h"

namespace graft {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;

// A cache, a tokenizer and files to read.
class DataSetTest : public testing::Test {
 protected:
  DataContext Context(int64_t max_total_tokens = 1024) {
    return {&tokenizer_, "tokenizer-hash", JoinPath(folder_.path(), "cache"), max_total_tokens, 2};
  }
  DataSetFile Write(const std::string& name, const std::string& content) {
    return {folder_.Write(name, content), "", ""};
  }
  // Rows {"document": "source i", "summary": "target i"}.
  DataSetFile WriteRows(int count) {
    std::string content;
    for (int i = 0; i < count; ++i) {
      absl::StrAppend(&content, "{\"document\": \"source ", i, "\", \"summary\": \"target ", i,
                      "\"}\n");
    }
    return Write("rows.jsonl", content);
  }
  std::shared_ptr<const TokenFile> Open(const DataSetFile& file, const DataConfig& config = {},
                                        int64_t max_rows = 0) {
    auto opened = OpenTokenised(file, config, max_rows, Context(), stop_);
    if (!opened.ok()) ADD_FAILURE() << opened.status();
    return *opened;
  }
  absl::Status OpenError(const DataSetFile& file, const DataConfig& config = {}) {
    return OpenTokenised(file, config, 0, Context(), stop_).status();
  }
  Ids Encode(const std::string& text) { return *tokenizer_.Encode(text); }
  std::vector<std::string> CacheFiles() { return *ListDirectory(Context().cache_directory); }

  const BpeTokenizer tokenizer_ =
      *BpeTokenizer::Load(absl::StrCat(GRAFT_SOURCE_DIR, "/tests/golden/text/bpe"));
  const TemporaryFolder folder_;
  NoStop stop_;
};

TEST_F(DataSetTest, RowsAreDescribedByTheirLines) {
  const std::string content =
      absl::StrCat("{\"id\": \"a\", \"document\": \"one\", \"summary\": \"1\"}\n\n",
                   "{\"id\": 7, \"document\": \"", std::string(500, 'x'),
                   "\", \"summary\": \"2\"}\n", "{\"document\": \"three\", \"summary\": \"3\"}\n");
  const DataSetFile file = Write("described.jsonl", content);
  std::vector<DivergentRow> rows(3);
  rows[0].line = 4;
  rows[1].line = 3;
  rows[2] = {17, 99, "", "", 0, 0};
  DescribeRows(file, {}, rows, stop_.pulse());
  EXPECT_EQ(rows[0].row, 2);
  EXPECT_EQ(rows[0].id, "");
  EXPECT_EQ(rows[0].source, "three");
  EXPECT_EQ(rows[1].row, 1);
  EXPECT_EQ(rows[1].id, "7");
  EXPECT_EQ(rows[1].source.size(), kMaxDivergentBytes);
  EXPECT_EQ(rows[2].row, 17) << "what is not found stays as it is";
  std::vector<DivergentRow> gone = {rows[2]};
  DescribeRows({"/nowhere/rows.jsonl", "", ""}, {}, gone, stop_.pulse());
  EXPECT_EQ(gone[0].row, 17);
}

Ids IdsOf(const Example& example) { return {example.ids.begin(), example.ids.end()}; }

std::vector<Ids> AllIds(const ExampleSource& source) {
  std::vector<Ids> all;
  for (int64_t i = 0; i < source.size(); ++i) all.push_back(IdsOf(source.Get(i)));
  return all;
}

TEST_F(DataSetTest, RowsAreWhatTheExampleBuilderMakes) {
  const auto file = Open(WriteRows(200));
  ASSERT_EQ(file->size(), 200);
  const ExampleBuilder builder =
      *ExampleBuilder::Create(tokenizer_, {"{source}\nTL;DR:", 512, 128, 1024});
  TokenExample expected;
  for (int i : {0, 1, 63, 64, 199}) {
    ASSERT_TRUE(
        builder.Build(absl::StrCat("source ", i), absl::StrCat("target ", i), &expected).ok());
    EXPECT_EQ(IdsOf(file->Get(i)), expected.ids) << i;
    EXPECT_EQ(file->Get(i).num_prompt_tokens, expected.num_prompt_tokens);
    EXPECT_EQ(file->Line(i), i + 1);
  }
}

TEST_F(DataSetTest, CsvAndJsonLinesGiveTheSameIds) {
  const auto json = Open(Write("a.jsonl",
                               "{\"document\": \"one, \\\"two\\\"\\nthree\", \"summary\": \"s\"}\n"
                               "{\"summary\": \"zwei\", \"document\": \"é\"}\n"));
  const auto csv =
      Open(Write("a.csv", "summary,document\r\ns,\"one, \"\"two\"\"\nthree\"\r\nzwei,é\r\n"));
  EXPECT_EQ(json->size(), 2);
  EXPECT_EQ(AllIds(*json), AllIds(*csv));
}

TEST_F(DataSetTest, PlainTextIsNotWhatTheSameBytesAreAsCsv) {
  DataConfig config;
  config.text_field = "text";
  const std::string bytes = "text\nsome words and, a comma\n\nmore of them\n";
  const auto text = Open(Write("a.txt", bytes), config);
  EXPECT_EQ(text->counts().rows, 3);
  const auto table = Open(Write("a.csv", "text\n\"some words and, a comma\"\n"), config);
  EXPECT_EQ(table->counts().rows, 1);
  // Of these bytes the cache has the other ids.
  const auto lines = Open(Write("b.txt", "text\n\"some words and, a comma\"\n"), config);
  EXPECT_EQ(lines->counts().rows, 2);
  EXPECT_NE(AllIds(*lines), AllIds(*table));
}

TEST_F(DataSetTest, CountsWhatWasCut) {
  DataConfig config;
  config.max_source_tokens = 12;
  config.max_target_tokens = 4;
  const auto file =
      Open(Write("cut.jsonl",
                 "{\"document\": \"a\", \"summary\": \"b\"}\n"
                 "{\"document\": \"a b c d e f g h i j k l m n\", \"summary\": \"b\"}\n"
                 "{\"document\": \"\", \"summary\": \"one two three four five\"}\n"),
           config);
  EXPECT_EQ(file->counts().rows, 3);
  EXPECT_EQ(file->counts().sources_cut, 1);
  EXPECT_EQ(file->counts().targets_cut, 1);
  EXPECT_EQ(file->counts().empty_sources, 1);
  EXPECT_EQ(file->counts().empty_targets, 0);
}

TEST_F(DataSetTest, TheCacheIsUsedForTheSameBytesAndSettingsOnly) {
  const DataSetFile file = WriteRows(3);
  Open(file);
  ASSERT_EQ(CacheFiles().size(), 1u);
  const std::string cached = JoinPath(Context().cache_directory, CacheFiles()[0]);
  struct stat written;
  ASSERT_EQ(::stat(cached.c_str(), &written), 0);
  std::filesystem::last_write_time(
      cached, std::filesystem::last_write_time(cached) - std::chrono::hours(24));
  Open({folder_.Write("copy", ReadWhole(file.path)), "", ""});
  ASSERT_EQ(CacheFiles().size(), 1u);
  struct stat used;
  ASSERT_EQ(::stat(cached.c_str(), &used), 0);
  EXPECT_EQ(used.st_ino, written.st_ino) << "a file made again is another one";
  EXPECT_GE(used.st_mtime, written.st_mtime) << "what is used must not look old to the cleaner";

  DataConfig other;
  other.prompt_template = "{source} =>";
  Open(file, other);
  EXPECT_EQ(CacheFiles().size(), 2u);
  other.max_target_tokens = 5;
  Open(file, other);
  EXPECT_EQ(CacheFiles().size(), 3u);
  EXPECT_EQ(Open(file, other, 2)->size(), 2);
  EXPECT_EQ(CacheFiles().size(), 4u);
}

TEST_F(DataSetTest, AFlippedBitOfTheCacheIsNeverUsed) {
  const DataSetFile file = WriteRows(2);
  const auto ids = AllIds(*Open(file));
  const std::string path = JoinPath(Context().cache_directory, CacheFiles()[0]);
  const std::string whole = ReadWhole(path);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << i % 8));
    ASSERT_TRUE(WriteFileAtomically(path, flipped).ok());
    EXPECT_EQ(TokenFile::Open(path).status().code(), absl::StatusCode::kDataLoss) << i;
  }
  EXPECT_EQ(AllIds(*Open(file)), ids);
  EXPECT_EQ(ReadWhole(path), whole);
}

TEST_F(DataSetTest, ABrokenCacheFileIsMadeAgain) {
  const DataSetFile file = WriteRows(3);
  const auto ids = AllIds(*Open(file));
  const std::string path = JoinPath(Context().cache_directory, CacheFiles()[0]);
  const std::string whole = ReadWhole(path);
  for (const std::string& broken :
       {std::string(), whole.substr(0, whole.size() - 8), whole.substr(8), std::string(500, 'x')}) {
    ASSERT_TRUE(WriteFileAtomically(path, broken).ok());
    EXPECT_EQ(AllIds(*Open(file)), ids);
  }
}

TEST_F(DataSetTest, PlainTextIsJoinedByEndOfTextAndPacked) {
  DataConfig config;
  config.text_field = "text";
  const auto file =
      OpenTokenised(Write("t.jsonl", "{\"text\": \"one two three\"}\n{\"text\": \"four five\"}\n"),
                    config, 0, Context(5), stop_);
  ASSERT_TRUE(file.ok()) << file.status();
  Ids all = Encode("one two three");
  all.push_back(tokenizer_.end_of_text_id());
  for (const int32_t id : Encode("four five")) all.push_back(id);
  all.push_back(tokenizer_.end_of_text_id());
  Ids packed;
  for (int64_t i = 0; i < (*file)->size(); ++i) {
    const Example example = (*file)->Get(i);
    EXPECT_EQ(example.num_prompt_tokens, 0);
    if (i + 1 < (*file)->size()) {
      EXPECT_EQ(example.ids.size(), 5u);
    }
    packed.insert(packed.end(), example.ids.begin(), example.ids.end());
  }
  EXPECT_EQ(packed.size(), all.size() - (all.size() % 5 == 1 ? 1 : 0));
  EXPECT_TRUE(std::equal(packed.begin(), packed.end(), all.begin()));
}

TEST_F(DataSetTest, ErrorsNameDataSetAndLineAndAreOfClassData) {
  DataSetFile file = Write("bad.jsonl",
                           "{\"document\": \"a\", \"summary\": \"b\"}\n"
                           "{\"document\": \"a\", \"summary\": \n");
  file.name = "news";
  const absl::Status status = OpenError(file);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FailureClassOf(status), FailureClass::kData);
  EXPECT_THAT(std::string(status.message()), HasSubstr("news: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 2"));

  const absl::Status empty = OpenError(Write("empty.jsonl", ""));
  EXPECT_EQ(FailureClassOf(empty), FailureClass::kData) << empty;
  const absl::Status field = OpenError(Write("field.jsonl", "{\"document\": \"a\"}\n"));
  EXPECT_EQ(FailureClassOf(field), FailureClass::kData);
  EXPECT_THAT(std::string(field.message()), HasSubstr("summary"));
  EXPECT_TRUE(CacheFiles().empty()) << "a failed run must leave nothing";
}

TEST_F(DataSetTest, LimitsThatCannotFitAreOfClassConfig) {
  DataConfig config;
  config.max_target_tokens = 1024;
  const absl::Status status = OpenError(WriteRows(1), config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FailureClassOf(status), FailureClass::kConfig);
}

TEST_F(DataSetTest, HoldsOutTheLastOfAPermutation) {
  DataConfig config;
  config.validation_fraction = 0.25;
  const auto data = PrepareTrainingData(WriteRows(10), {}, config, 7, Context(), stop_);
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->train->size(), 7);
  ASSERT_EQ(data->validation->size(), 3);
  const std::vector<int64_t> order = HeldOutOrder(10, 7);
  const std::set<int64_t> expected(order.end() - 3, order.end());
  EXPECT_EQ(std::set<int64_t>(data->validation_rows.begin(), data->validation_rows.end()),
            expected);
  std::set<Ids> train, validation;
  for (const Ids& ids : AllIds(*data->train)) train.insert(ids);
  for (const Ids& ids : AllIds(*data->validation)) validation.insert(ids);
  EXPECT_EQ(train.size(), 7u);
  EXPECT_EQ(validation.size(), 3u);
  for (const Ids& ids : validation) EXPECT_EQ(train.count(ids), 0u);
}

TEST_F(DataSetTest, HoldsOutRowsOfPlainTextBeforePacking) {
  std::string content;
  for (int i = 0; i < 8; ++i) absl::StrAppend(&content, "{\"text\": \"t", i, "\"}\n");
  DataConfig config;
  config.text_field = "text";
  config.validation_fraction = 0.5;
  const auto data =
      PrepareTrainingData(Write("t.jsonl", content), {}, config, 1, Context(8), stop_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train_counts.rows, 4);
  const std::vector<int64_t> order = HeldOutOrder(8, 1);
  std::set<int64_t> held_out(order.end() - 4, order.end());
  std::string expected;
  for (const int64_t row : held_out) absl::StrAppend(&expected, "t", row, "<|endoftext|>");
  std::string found;
  for (const Ids& ids : AllIds(*data->validation)) found += tokenizer_.Decode(ids);
  EXPECT_EQ(found.substr(0, expected.size() - 13), expected.substr(0, expected.size() - 13));
  EXPECT_TRUE(data->validation_rows.empty());
}

TEST_F(DataSetTest, ASplitOfPlainTextKnowsItsRowsAndTheirLimit) {
  std::string content;
  for (int i = 0; i < 8; ++i) absl::StrAppend(&content, "{\"text\": \"t", i, "\"}\n");
  const DataSetFile file = Write("t.jsonl", content);
  DataConfig config;
  config.text_field = "text";
  const auto rows_of = [&](double fraction) {
    config.validation_fraction = fraction;
    const auto data = PrepareTrainingData(file, {}, config, 1, Context(64), stop_);
    EXPECT_TRUE(data.ok()) << data.status();
    return std::pair(data->train_counts.rows, data->validation_counts.rows);
  };
  // The same six digits, but another number of rows, must not share cache files.
  EXPECT_EQ(rows_of(0.25), std::pair(int64_t{6}, int64_t{2}));
  EXPECT_EQ(rows_of(0.25000001), std::pair(int64_t{5}, int64_t{3}));
  config.max_validation_rows = 2;
  EXPECT_EQ(rows_of(0.5), std::pair(int64_t{4}, int64_t{2}));
}

TEST_F(DataSetTest, RefusesASplitThatLeavesNothing) {
  DataConfig config;
  config.validation_fraction = 0.5;
  const absl::Status status =
      PrepareTrainingData(WriteRows(1), {}, config, 1, Context(), stop_).status();
  EXPECT_EQ(FailureClassOf(status), FailureClass::kConfig) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("validation_fraction"));
}

TEST_F(DataSetTest, RefusesPlainTextTooShortForALabel) {
  DataConfig config;
  config.text_field = "text";
  const DataSetFile empty = Write("empty.jsonl", "{\"text\": \"\"}\n");
  const DataSetFile text = Write("text.jsonl", "{\"text\": \"one two three\"}\n");
  const auto error = [&](const DataSetFile& train, const DataSetFile& validation) {
    return PrepareTrainingData(train, validation, config, 1, Context(), stop_).status();
  };
  for (const absl::Status& status : {error(empty, {}), error(text, empty)}) {
    EXPECT_EQ(FailureClassOf(status), FailureClass::kData) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("empty.jsonl: 1 rows"));
  }
  EXPECT_TRUE(error(text, text).ok());

  config.validation_fraction = 0.5;
  const absl::Status held_out =
      error(Write("a.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"\"}\n"), {});
  const absl::Status left = error(Write("b.jsonl", "{\"text\": \"\"}\n{\"text\": \"a b\"}\n"), {});
  EXPECT_EQ(FailureClassOf(held_out), FailureClass::kConfig) << held_out;
  EXPECT_THAT(std::string(held_out.message()), HasSubstr("data.validation_fraction: what it"));
  EXPECT_THAT(std::string(left.message()), HasSubstr("data.validation_fraction: what it"));
  EXPECT_NE(held_out.message().find("leaves"), left.message().find("leaves"));
}

TEST_F(DataSetTest, StopsWhenTold) {
  class StopNow : public StopToken {
   public:
    absl::Status Poll() override { return absl::CancelledError("stop"); }
  } stop;
  EXPECT_EQ(OpenTokenised(WriteRows(3), {}, 0, Context(), stop).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace graft
