#include "common/text/data_reader.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include "tests/common/text/test_files.h"

namespace graft {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

DataFields Pair() { return {.source_field = "document", .target_field = "summary"}; }
DataFields Text() { return {.text_field = "text"}; }

absl::StatusOr<std::vector<DataRow>> ReadAll(absl::StatusOr<DataReader> reader) {
  if (!reader.ok()) return reader.status();
  std::vector<DataRow> rows;
  DataRow row;
  while (true) {
    const absl::StatusOr<bool> more = reader->Next(&row);
    if (!more.ok()) return more.status();
    if (!*more) return rows;
    rows.push_back(row);
  }
}

absl::StatusOr<std::vector<DataRow>> Read(const std::string& content, const DataFields& fields,
                                          DataFormat format = DataFormat::kAutomatic) {
  return ReadAll(DataReader::FromString(content, fields, format));
}

std::string ErrorOf(const std::string& content, const DataFields& fields,
                    DataFormat format = DataFormat::kAutomatic) {
  const auto rows = Read(content, fields, format);
  EXPECT_EQ(rows.status().code(), absl::StatusCode::kInvalidArgument) << rows.status();
  return std::string(rows.status().message());
}

std::string Row(int line) {
  return absl::StrCat(R"({"id": "r)", line, R"(", "document": "d)", line, R"(", "summary": "s"})",
                      "\n");
}

TEST(DataReaderTest, ReadsJsonLines) {
  const auto rows = Read(
      "{\"document\": \"a\\n\\\"b\\\" \\u00e9\\ud83d\\ude00/\\/\", \"id\": \"x\", \"summary\": "
      "\"é\"}\r\n"
      "\n"
      "{\"x\": [1, {\"document\": 2}, -0.5e+3, NaN], \"summary\": \"\", \"document\": \"\", "
      "\"id\": 17}",
      Pair());
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].line, 1);
  EXPECT_EQ((*rows)[0].source, "a\n\"b\" é😀//");
  EXPECT_THAT((*rows)[0].targets, ElementsAre("é"));
  EXPECT_EQ((*rows)[0].id, "x");
  EXPECT_EQ((*rows)[1].line, 3);
  EXPECT_EQ((*rows)[1].source, "");
  EXPECT_THAT((*rows)[1].targets, ElementsAre(""));
  EXPECT_EQ((*rows)[1].id, "17");
}

TEST(DataReaderTest, ReadsSeveralReferences) {
  const auto rows = Read(R"({"document": "d", "summary": ["one", "two\n2", "three"]})"
                         "\n" +
                             Row(2),
                         Pair());
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT((*rows)[0].targets, ElementsAre("one", "two\n2", "three"));
  EXPECT_THAT((*rows)[1].targets, ElementsAre("s"));
}

TEST(DataReaderTest, ReadsPlainText) {
  const auto rows = Read("{\"text\": \"a\"}\n{\"text\": \"b\", \"summary\": 3}\n", Text());
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[1].source, "b");
  EXPECT_THAT((*rows)[1].targets, IsEmpty());
}

TEST(DataReaderTest, OfAFieldGivenTwiceTheLastCounts) {
  const auto rows = Read(
      R"({"document": ["x"], "summary": ["a", "b"], "document": "d", "summary": "c"})", Pair());
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[0].source, "d");
  EXPECT_THAT((*rows)[0].targets, ElementsAre("c"));
}

TEST(DataReaderTest, FieldNamesMayBeEscaped) {
  const auto rows = Read(R"({"docu\u006dent": "d", "summary": "s"})", Pair());
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[0].source, "d");
}

TEST(DataReaderTest, OneFieldMayBeSourceTargetAndId) {
  const DataFields fields = {.source_field = "a", .target_field = "a", .id_field = "a"};
  for (const char* content : {"{\"a\": \"x\"}", "a\nx\n"}) {
    const auto rows = Read(content, fields);
    ASSERT_TRUE(rows.ok()) << rows.status();
    EXPECT_EQ((*rows)[0].source, "x");
    EXPECT_THAT((*rows)[0].targets, ElementsAre("x"));
    EXPECT_EQ((*rows)[0].id, "x");
  }
}

TEST(DataReaderTest, ReadsCsv) {
  const auto rows = Read(
      "id,document,other,summary\r\n"
      "1,\"two\nlines, \"\"quoted\"\"\",,s1\r\n"
      "\r\n"
      ",é,\"\",\"\"",
      Pair());
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].line, 2);
  EXPECT_EQ((*rows)[0].source, "two\nlines, \"quoted\"");
  EXPECT_THAT((*rows)[0].targets, ElementsAre("s1"));
  EXPECT_EQ((*rows)[0].id, "1");
  EXPECT_EQ((*rows)[1].line, 5);
  EXPECT_EQ((*rows)[1].source, "é");
  EXPECT_THAT((*rows)[1].targets, ElementsAre(""));
  EXPECT_EQ((*rows)[1].id, "");
}

DataFields WithTemplate(std::vector<std::string> fields) {
  DataFields wanted = Pair();
  wanted.template_fields = std::move(fields);
  return wanted;
}

TEST(DataReaderTest, ReadsWhatATemplatePutsIn) {
  const auto rows = Read(
      R"({"year": 1.50e1, "title": "a\"b", "document": "d", "summary": "s", "is": true, "tags": []})"
      "\n"
      R"({"document": "d", "summary": "s", "title": "", "tags": ["x", "y"], "is": false, "year": -0})",
      WithTemplate({"title", "year", "is", "tags", "document"}));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT((*rows)[0].values, ElementsAre("a\"b", "1.50e1", "true", "", "d"));
  EXPECT_THAT((*rows)[1].values, ElementsAre("", "-0", "false", "x\ny", "d"));
}

TEST(DataReaderTest, OfCsvATemplateTakesColumns) {
  const auto rows = Read("title,document,summary,year\n\"On, cats\",d,s,\n,d,s,1999\n",
                         WithTemplate({"year", "title"}));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT((*rows)[0].values, ElementsAre("", "On, cats"));
  EXPECT_THAT((*rows)[1].values, ElementsAre("1999", ""));
  EXPECT_EQ(ErrorOf("document,summary\nd,s\n", WithTemplate({"title"})),
            "line 1: field \"title\" is missing; the header has: document, summary");
}

TEST(DataReaderTest, WhatATemplateCannotPutInIsToldByItsLine) {
  const auto error = [](const std::string& member) {
    return ErrorOf(absl::StrCat(R"({"document": "d", "summary": "s", "title": "t"})", "\n",
                                R"({"document": "d", "summary": "s")", member, "}"),
                   WithTemplate({"title"}));
  };
  EXPECT_EQ(error(""), "line 2: field \"title\" is missing; the row has: document, summary");
  EXPECT_EQ(error(R"(, "title": null)"),
            "line 2: field \"title\" is null; in a prompt template it must be a string, a number, "
            "true, false or a list of strings");
  EXPECT_THAT(error(R"(, "title": {"a": 1})"), HasSubstr("line 2: field \"title\" is an object;"));
  EXPECT_THAT(error(R"(, "title": ["a", 1])"),
              HasSubstr("line 2: field \"title\" is a list with a number in it;"));
  EXPECT_THAT(
      ErrorOf("a line\n",
              {.source_field = "text", .target_field = "text", .template_fields = {"title"}},
              DataFormat::kText),
      HasSubstr("field \"title\" is missing; this is plain text"));
}

TEST(DataReaderTest, PassesOverAByteOrderMark) {
  EXPECT_EQ(Read("\xEF\xBB\xBF{\"text\": \"a\"}\n", Text())->at(0).source, "a");
  EXPECT_EQ(Read("\xEF\xBB\xBFtext\na\n", Text())->at(0).source, "a");
}

TEST(DataReaderTest, TellsTheFormatByNameOrContent) {
  const TemporaryFolder folder;
  const auto format_of = [&](const std::string& name, const std::string& content) {
    const auto reader = DataReader::Open(folder.Write(name, content), Text());
    EXPECT_TRUE(reader.ok()) << reader.status();
    return reader->format();
  };
  EXPECT_EQ(format_of("a.jsonl", ""), DataFormat::kJsonLines);
  EXPECT_EQ(format_of("a.CSV", "text\n"), DataFormat::kCsv);
  EXPECT_EQ(format_of("a.txt", "a, b\n"), DataFormat::kText);
  EXPECT_EQ(format_of("a.b.TXT", "{{Infobox}}\n"), DataFormat::kText);
  EXPECT_EQ(format_of("a.text", "[1] A note.\n"), DataFormat::kText);
  // People give JSON lines this name.
  EXPECT_EQ(format_of("b.txt", "\n{ \"text\": \"a\"}\n"), DataFormat::kJsonLines);
  EXPECT_EQ(format_of("0f3c", " \n{\"text\": \"\"}"), DataFormat::kJsonLines);
  EXPECT_EQ(format_of("0f3d", "text\n{\"a\": 1}"), DataFormat::kCsv);
  EXPECT_EQ(DataReader::Open(folder.path() + "/none.csv", Text()).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(DataReaderTest, NamesLineAndFieldOfWhatIsMissing) {
  EXPECT_EQ(ErrorOf(Row(1) + "\n" + R"({"document": "d", "id": "3"})", Pair()),
            "line 3: field \"summary\" is missing; the row has: document, id");
  EXPECT_EQ(ErrorOf("document,title\nx,y\n", Pair()),
            "line 1: field \"summary\" is missing; the header has: document, title");
  EXPECT_EQ(ErrorOf("document,summary,document\n", Pair()),
            "line 1: field \"document\" stands twice in the header");
}

TEST(DataReaderTest, NamesLineAndFieldOfAWrongType) {
  const auto error = [](const std::string& summary) {
    return ErrorOf(Row(1) + R"({"document": "d", "summary": )" + summary + "}\n", Pair());
  };
  const std::string begin = "line 2: field \"summary\" is ";
  const std::string end = "; it must be a string or a list of strings";
  EXPECT_EQ(error("3"), begin + "a number" + end);
  EXPECT_EQ(error("null"), begin + "null" + end);
  EXPECT_EQ(error("{\"a\": [{}]}"), begin + "an object" + end);
  EXPECT_EQ(error("[\"a\", [], \"b\"]"), begin + "a list with a list in it" + end);
  EXPECT_EQ(error("[]"), begin + "an empty list; it must hold at least one string");
  EXPECT_EQ(ErrorOf(R"({"text": ["a"]})", Text()),
            "line 1: field \"text\" is a list of strings; it must be a string");
}

TEST(DataReaderTest, NamesLineAndColumnOfBrokenJson) {
  const auto error = [](const std::string& line) { return ErrorOf(Row(1) + line + "\n", Pair()); };
  EXPECT_EQ(error("{\"a\": \"b}"), "line 2: column 10: the line ends in the middle of a string");
  EXPECT_EQ(error("{\"a\" 1}"), "line 2: column 6: \":\" must stand here");
  EXPECT_EQ(error("{\"a\": tru}"), "line 2: column 7: no JSON value begins like this");
  EXPECT_EQ(error("{\"a\": 1 \"b\": 2}"), "line 2: column 9: \",\" or \"}\" must stand here");
  EXPECT_EQ(error("{\"a\": [1 2]}"), "line 2: column 10: \",\" or \"]\" must stand here");
  EXPECT_EQ(error("{\"a\": 1} x"), "line 2: column 10: something stands behind the row's object");
  EXPECT_EQ(error("[1]"), "line 2: column 1: a row must be a JSON object, which begins with \"{\"");
  EXPECT_EQ(error("{\"a\": \"\t\"}"), "line 2: column 8: a control character in a string");
  EXPECT_EQ(error("{\"a\": \"\\x\"}"), "line 2: column 9: no such escape in a string");
  EXPECT_THAT(error(R"({"document": "\ud800x", "summary": ""})"), HasSubstr("surrogate"));
  EXPECT_THAT(error("{\"a\": " + std::string(600, '[')), HasSubstr("nested too deeply"));
}

TEST(DataReaderTest, NamesLineOfBrokenCsv) {
  EXPECT_EQ(ErrorOf("text,b\nx,y\nx\n", Text()), "line 3: the row has 1 field, but the header 2");
  EXPECT_THAT(ErrorOf("text,b\nx,y,z\n", Text()), HasSubstr("a comma in it must stand in double"));
  EXPECT_EQ(
      ErrorOf("text,b\nx,y\"z\"\n", Text()),
      "line 2: field 2: a double quote stands inside it, but does not begin it: put the whole "
      "field in double quotes and write each one inside it twice, as in \"a 5\"\" disk\"");
  // The rows behind it are no part of the message.
  EXPECT_THAT(ErrorOf("text,b\nx,y\n5\" disk,z\na,b\nc,d\n", Text()),
              HasSubstr("line 3: field 1: a double quote stands inside it"));
  EXPECT_THAT(ErrorOf("text,b\n5\" disk,z\na,b\n3\" disk,d\n", Text()),
              HasSubstr("line 2: field 1: a double quote stands inside it"));
  EXPECT_THAT(ErrorOf("text,b\n\"x\"y,z\n", Text()), HasSubstr("line 2: field 1: text stands"));
  EXPECT_EQ(ErrorOf("text,b\n1,2\n\"x\ny,z\n", Text()),
            "line 3: field 1: the double quote that opens it is not closed (one inside a field is "
            "written twice)");
}

TEST(DataReaderTest, NamesLineOfInvalidUtf8) {
  EXPECT_EQ(ErrorOf(Row(1) + "{\"a\": \"\xC3\"}\n", Pair()),
            "line 2: invalid UTF-8 at byte 8 of the line");
  EXPECT_EQ(ErrorOf("text,b\n1,2\n\"x\ny\xFF\",3\n", Text()),
            "line 4: invalid UTF-8 at byte 2 of the line");
  EXPECT_THAT(ErrorOf(std::string("\xFF\xFE{\0", 4), Text()), HasSubstr("UTF-16"));
}

TEST(DataReaderTest, RefusesWhatHoldsNoRows) {
  for (const char* content : {"", "\n\n", "\xEF\xBB\xBF"}) {
    EXPECT_THAT(ErrorOf(content, Text(), DataFormat::kJsonLines), HasSubstr("data set is empty"));
    EXPECT_THAT(ErrorOf(content, Text(), DataFormat::kCsv), HasSubstr("data set is empty"));
  }
  EXPECT_THAT(ErrorOf("text\n", Text()), HasSubstr("data set is empty"));
  EXPECT_THAT(ErrorOf(" [{\"text\": \"a\"}]", Text()), HasSubstr("JSON list"));
}

TEST(DataReaderTest, RefusesAnUnclearChoiceOfFields) {
  for (const DataFields& fields :
       {DataFields{}, DataFields{.source_field = "a"}, DataFields{.target_field = "a"},
        DataFields{.source_field = "a", .target_field = "b", .text_field = "c"}}) {
    EXPECT_THAT(ErrorOf("a,b,c\n1,2,3\n", fields), HasSubstr("text_field alone"));
  }
}

TEST(DataReaderTest, ChecksEveryRowWithoutAskingForFields) {
  DataFields none;
  none.check_only = true;
  for (const std::string& content : {Row(1) + Row(2), std::string("id,document\n1,a\n2,b\n")}) {
    auto reader = DataReader::FromString(content, none);
    ASSERT_TRUE(reader.ok()) << reader.status();
    DataRow row;
    ASSERT_TRUE(*reader->Next(&row));
    EXPECT_THAT(reader->field_names(), testing::IsSupersetOf({"id", "document"}));
    EXPECT_TRUE(row.source.empty() && row.targets.empty());
    ASSERT_TRUE(*reader->Next(&row));
    EXPECT_FALSE(*reader->Next(&row));
  }
  EXPECT_THAT(ErrorOf(Row(1) + "{\"a\": }\n", none), HasSubstr("line 2: column 7"));
  EXPECT_THAT(ErrorOf("a,b\n1\n", none), HasSubstr("line 2: the row has 1 field,"));
}

TEST(DataReaderTest, RefusesARowBeyondTheBound) {
  const std::string row = R"({"text": ")" + std::string(kMaxRowBytes - 12, 'x') + "\"}\n";
  EXPECT_TRUE(Read(row, Text()).ok());
  EXPECT_THAT(ErrorOf("{\"text\": \"\"}\n " + row, Text()), HasSubstr("line 2: the row is longer"));
  EXPECT_THAT(ErrorOf("text\n\"" + std::string(kMaxRowBytes + 1000000, '\n'), Text()),
              HasSubstr("(a double quote in it is not closed)"));
}

// A source of the given size, made up as it is read: rows of about 1 kB.
DataReader::ByteSource Endless(int64_t size) {
  const std::string row = R"({"text": ")" + std::string(1011, 'x') + "\"}\n";
  return [row, size](int64_t offset, absl::Span<char> buffer) -> absl::StatusOr<size_t> {
    size_t filled = 0;
    while (filled < buffer.size() && offset < size) {
      const size_t at = offset % row.size();
      const size_t count =
          std::min({buffer.size() - filled, row.size() - at, static_cast<size_t>(size - offset)});
      std::copy_n(row.data() + at, count, buffer.data() + filled);
      filled += count;
      offset += count;
    }
    return filled;
  };
}

TEST(DataReaderTest, MemoryDoesNotGrowWithTheDataSet) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer keeps freed memory for a while";
#endif
  const auto peak_kilobytes = [] {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  absl::StatusOr<DataReader> reader = DataReader::FromSource(Endless(int64_t{200} << 20), Text());
  ASSERT_TRUE(reader.ok());
  const auto before = peak_kilobytes();
  DataRow row;
  int64_t count = 0;
  for (; *reader->Next(&row); ++count) ASSERT_EQ(row.line, count + 1);
  EXPECT_EQ(count, (200 << 20) / 1024);
  EXPECT_LT(peak_kilobytes() - before, 8 << 10);
}

TEST(DataReaderTest, WhatTheSourceSaysIsPassedOn) {
  const auto failing = [](int64_t offset, absl::Span<char>) -> absl::StatusOr<size_t> {
    return absl::DataLossError("disk gone");
  };
  EXPECT_EQ(DataReader::FromSource(failing, Text()).status().code(), absl::StatusCode::kDataLoss);
}

// Cuts and changes bytes of valid rows at random places: our parser must agree with nlohmann's on
// which are valid and on their fields.
TEST(DataReaderTest, AgreesWithAnotherParserOnDamagedRows) {
  const std::string row =
      R"({"a": [1, -2.5e-7, {"b": null, "c": [true, false, {}]}, []], "text": "x\u00e9\n\\ \"q\" é", "z": 0})";
  const std::string alphabet = "{}[]\",:\\u0019eE+-.nrtfals x\t\x01";
  uint64_t state = 1;
  const auto random = [&state](size_t bound) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 33) % bound;
  };
  int valid = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = row;
    for (size_t changes = 1 + random(2); changes > 0; --changes) {
      const size_t at = random(damaged.size());
      if (random(2)) {
        damaged.erase(at, 1);
      } else {
        damaged[at] = alphabet[random(alphabet.size())];
      }
    }
    const Json expected = Json::parse(damaged, nullptr, false);
    const bool expected_ok =
        expected.is_object() && expected.contains("text") && expected["text"].is_string();
    const auto rows = Read(damaged, Text(), DataFormat::kJsonLines);
    ASSERT_EQ(rows.ok(), expected_ok) << damaged << "\n" << rows.status();
    if (!rows.ok()) continue;
    ++valid;
    EXPECT_EQ((*rows)[0].source, expected["text"].get<std::string>()) << damaged;
  }
  EXPECT_GT(valid, 2000);
}

TEST(DataReaderRealDataTest, ReadsWhatAnotherParserReads) {
  for (const char* name :
       {"cnn_dailymail/valid.jsonl", "dialogsum/dev.jsonl", "scitldr/dev.jsonl"}) {
    const std::string path = SharedDataPath(name);
    SKIP_WITHOUT(path);
    const auto rows = ReadAll(DataReader::Open(path, Pair()));
    ASSERT_TRUE(rows.ok()) << rows.status();
    std::istringstream lines(ReadWhole(path));
    size_t count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
      const Json expected = Json::parse(line);
      ASSERT_LT(count, rows->size());
      EXPECT_EQ((*rows)[count].source, expected["document"].get<std::string>());
      EXPECT_THAT((*rows)[count].targets, ElementsAre(expected["summary"].get<std::string>()));
      EXPECT_EQ((*rows)[count].id, expected["id"].get<std::string>());
    }
    EXPECT_EQ(count, rows->size());
  }
}

TEST(DataReaderRealDataTest, ReadsTheReferencesOfScitldr) {
  const std::string path = SharedDataPath("scitldr/dev.jsonl");
  SKIP_WITHOUT(path);
  const auto rows =
      ReadAll(DataReader::Open(path, {.source_field = "document", .target_field = "references"}));
  ASSERT_TRUE(rows.ok()) << rows.status();
  size_t most = 0;
  for (const DataRow& row : *rows) most = std::max(most, row.targets.size());
  EXPECT_GT(most, 1u);
}

TEST(DataReaderTest, TheHeaderOfCsvTellsTheSeparator) {
  for (const std::string content :
       {"document;summary\n\"a; b, c\";s\n", "document\tsummary\n\"a; b, c\"\ts\n",
        "sep=;\ndocument;summary\n\"a; b, c\";s\n", "sep=|\r\ndocument|summary\r\na; b, c|s\r\n",
        "\xEF\xBB\xBF\"document\";summary\n\"a; b, c\";s\n"}) {
    SCOPED_TRACE(content);
    const auto rows = Read(content, Pair());
    ASSERT_TRUE(rows.ok()) << rows.status();
    ASSERT_EQ(rows->size(), 1u);
    EXPECT_EQ((*rows)[0].source, "a; b, c");
    EXPECT_THAT((*rows)[0].targets, ElementsAre("s"));
  }
  EXPECT_THAT(ErrorOf("document;summary\na;s;t\n", Pair()), HasSubstr("a semicolon in it"));
  // Where both stand in the header it is a comma, as it always was.
  EXPECT_THAT(ErrorOf("document;summary,id\na;b,c\n", Pair()),
              HasSubstr("the header has: document;summary, id"));
}

TEST(DataReaderTest, PlainTextWithoutItsNameIsToldHowToBecomeRows) {
  EXPECT_THAT(ErrorOf("It rains.\nIt pours.\n", Text()), HasSubstr("name the file FILE.txt"));
  EXPECT_THAT(ErrorOf("text\na, b\n", Text()), HasSubstr("FILE.txt"));
  EXPECT_THAT(ErrorOf("text\na, b\n", Text(), DataFormat::kCsv), Not(HasSubstr("FILE.txt")));
}

TEST(DataReaderTest, EachLineOfPlainTextIsARow) {
  const auto rows =
      Read("\xEF\xBB\xBF\r\nIt \"rains,\r\n  \t\n  and, \"\"pours\u2028{\"a\": 1}  \nlast\\n",
           Text(), DataFormat::kText);
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[0].line, 2);
  EXPECT_EQ((*rows)[0].source, "It \"rains,");
  EXPECT_THAT((*rows)[0].targets, IsEmpty());
  EXPECT_EQ((*rows)[0].id, "");
  EXPECT_EQ((*rows)[1].line, 4);
  EXPECT_EQ((*rows)[1].source, "  and, \"\"pours\u2028{\"a\": 1}  ");
  EXPECT_EQ((*rows)[2].source, "last\\n");
}

TEST(DataReaderTest, PlainTextHasOneField) {
  const std::string text = "It rains.\nIt pours.\n";
  DataFields fields;
  fields.check_only = true;
  auto reader = DataReader::FromString(text, fields, DataFormat::kText);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_THAT(reader->field_names(), ElementsAre("text"));
  EXPECT_EQ(ReadAll(*std::move(reader))->size(), 2u);
  EXPECT_EQ(Read(text, {.source_field = "text", .target_field = "text"}, DataFormat::kText)
                ->at(1)
                .targets[0],
            "It pours.");
  for (const DataFields& others : {Pair(), DataFields{.text_field = "document"}}) {
    EXPECT_THAT(ErrorOf(text, others, DataFormat::kText),
                AllOf(HasSubstr("field \"document\" is missing"), HasSubstr("text_field text")));
  }
}

TEST(DataReaderTest, PlainTextNamesItsBrokenLinesAndReadsOn) {
  auto reader = DataReader::FromString("a\n\nb\xFF\nc\n", Text(), DataFormat::kText);
  ASSERT_TRUE(reader.ok()) << reader.status();
  DataRow row;
  EXPECT_TRUE(*reader->Next(&row));
  EXPECT_EQ(reader->Next(&row).status().message(), "line 3: invalid UTF-8 at byte 2 of the line");
  EXPECT_TRUE(reader->can_go_on());
  EXPECT_TRUE(*reader->Next(&row));
  EXPECT_EQ(row.source, "c");
  EXPECT_FALSE(*reader->Next(&row));
  EXPECT_THAT(ErrorOf(" \n\n", Text(), DataFormat::kText), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf("a\n" + std::string(kMaxRowBytes + 1, 'x'), Text(), DataFormat::kText),
              HasSubstr("line 2: the row is longer than"));
  EXPECT_THAT(ErrorOf("PK\x03\x04", Text(), DataFormat::kText), HasSubstr("unzip"));
}

TEST(DataReaderTest, AChatIsToldHowToBecomeRows) {
  EXPECT_THAT(
      ErrorOf("{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n", Pair()),
      HasSubstr("jq -c '{document: .messages[-2].content, summary: .messages[-1].content}'"));
}

TEST(DataReaderTest, LineEndsOfUnicodeAreNoneHere) {
  const std::string text = "a\u2028b\u2029c\u0085d\x0B\x0C";
  const auto rows = Read("text\n" + text + "\n", Text());
  ASSERT_TRUE(rows.ok()) << rows.status();
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ((*rows)[0].source, text);
}

}  // namespace
}  // namespace graft
