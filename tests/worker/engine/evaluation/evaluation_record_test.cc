#include "worker/engine/evaluation/evaluation_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

EvaluationSums SomeSums() {
  EvaluationSums sums;
  sums.fingerprint = "f";
  sums.execution = {"cpu", "AVX2", "fp32", 2, "2.11.0", "aa"};
  sums.loss = {0.1 + 0.2, 7, 4, {{3, 4, 0.1 + 0.2}, {0, 3, -0.0}}};
  sums.untuned_loss = {std::numeric_limits<double>::infinity(), 8, 5};
  return sums;
}

Summary Text(const std::string& text) { return {text, 3, true, 5, 1}; }

class EvaluationRecordTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) { return folder_.Path(name); }
  void Add(EvaluationRecord& record, const Summary& tuned, const Summary& untuned) {
    record.Add({&tuned, &untuned});
  }

  const TempDir folder_;
  Pulse pulse_;
};

TEST_F(EvaluationRecordTest, WhatWasSavedComesBackToTheBit) {
  EvaluationRecord record(SomeSums());
  Add(record, Text("\"quoted\"\nline\xe2\x80\xa8"), Text(""));
  const auto file = record.Save(Path("1/evaluation.jsonl"), pulse_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->path, "evaluation.jsonl");
  EXPECT_EQ(file->size_bytes, *FileSize(Path("1/evaluation.jsonl")));
  // What comes later is added to what was saved, whatever becomes of that.
  ASSERT_TRUE(RemoveTree(Path("1")).ok());
  record.sums().loss.sum = -0.0;
  Add(record, Text("two"), Text("zwei"));
  ASSERT_TRUE(record.Save(Path("2/evaluation.jsonl"), pulse_).ok());

  auto read = EvaluationRecord::Open(Path("2/evaluation.jsonl"), "f");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->sums().rows, 2);
  EXPECT_TRUE(std::signbit(read->sums().loss.sum));
  EXPECT_EQ(read->sums().loss.num_tokens, 7);
  ASSERT_EQ(read->sums().loss.of_rows.size(), 2u);
  EXPECT_EQ(read->sums().loss.of_rows[0].index, 3);
  EXPECT_EQ(read->sums().loss.of_rows[0].num_tokens, 4);
  EXPECT_EQ(read->sums().loss.of_rows[0].sum, 0.1 + 0.2);
  EXPECT_TRUE(std::signbit(read->sums().loss.of_rows[1].sum));
  EXPECT_TRUE(read->sums().loss.knows_rows);
  EXPECT_EQ(read->sums().untuned_loss.sum, std::numeric_limits<double>::infinity());
  EXPECT_EQ(read->sums().execution.cpu_capability, "AVX2");
  const auto first = read->ReadRow();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)[0].text, "\"quoted\"\nline\xe2\x80\xa8");
  EXPECT_EQ((*first)[1].text, "");
  const auto second = read->ReadRow();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)[1].text, "zwei");
  EXPECT_EQ((*second)[0].new_tokens, 3);
  EXPECT_TRUE((*second)[0].ended);
  EXPECT_EQ((*second)[0].prompt_tokens, 5);
  EXPECT_EQ((*second)[0].source_tokens_cut, 1);
  EXPECT_EQ(ReadEvaluationExecution(Path("2/evaluation.jsonl"))->threads, 2);

  Add(*read, Text("three"), Text("drei"));
  ASSERT_TRUE(read->Save(Path("3/evaluation.jsonl"), pulse_).ok());
  auto again = EvaluationRecord::Open(Path("3/evaluation.jsonl"), "f");
  ASSERT_TRUE(again.ok());
  for (const char* text : {"\"quoted\"\nline\xe2\x80\xa8", "two", "three"}) {
    EXPECT_EQ((*again->ReadRow())[0].text, text);
  }
}

TEST_F(EvaluationRecordTest, TheLossesOfFurtherAdaptersComeBackAndStandNowhereElse) {
  EvaluationRecord one(SomeSums());
  ASSERT_TRUE(one.Save(Path("1/evaluation.jsonl"), pulse_).ok());
  EXPECT_THAT(*ReadFile(Path("1/evaluation.jsonl"), 1 << 20), Not(HasSubstr("more_losses")))
      << "an earlier build reads it";
  EXPECT_TRUE(EvaluationRecord::Open(Path("1/evaluation.jsonl"), "f")->sums().more_losses.empty());
  EvaluationSums sums = SomeSums();
  sums.more_losses = {{0.5, 3, 2}, {-0.0, 1, 1, {{2, 1, 0.25}}}};
  EvaluationRecord three(sums);
  ASSERT_TRUE(three.Save(Path("3/evaluation.jsonl"), pulse_).ok());
  auto read = EvaluationRecord::Open(Path("3/evaluation.jsonl"), "f");
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->sums().more_losses.size(), 2u);
  EXPECT_EQ(read->sums().more_losses[0].rows, 2);
  EXPECT_TRUE(std::signbit(read->sums().more_losses[1].sum));
  EXPECT_EQ(read->sums().more_losses[1].of_rows[0].sum, 0.25);
}

TEST_F(EvaluationRecordTest, EachTruncationIsNoticed) {
  EvaluationRecord record(SomeSums());
  Add(record, Text("one"), Text("eins"));
  Add(record, Text("two"), Text("zwei"));
  ASSERT_TRUE(record.Save(Path("1/evaluation.jsonl"), pulse_).ok());
  const std::string path = Path("1/evaluation.jsonl");
  const std::string whole = *ReadFile(path, 1 << 20);
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_TRUE(WriteFileAtomically(path, whole.substr(0, size)).ok());
    auto read = EvaluationRecord::Open(Path("1/evaluation.jsonl"), "f");
    absl::Status status = read.status();
    for (int row = 0; status.ok() && row < 2; ++row) status = read->ReadRow().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << size << ": " << status;
  }
}

TEST_F(EvaluationRecordTest, WhatIsNoRecordOfThisEvaluationIsRefused) {
  EXPECT_EQ(EvaluationRecord::Open(Path("none"), "f").status().code(), absl::StatusCode::kNotFound);
  EvaluationRecord record(SomeSums());
  ASSERT_TRUE(record.Save(Path("1/evaluation.jsonl"), pulse_).ok());
  const absl::Status other = EvaluationRecord::Open(Path("1/evaluation.jsonl"), "g").status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(other.message(), HasSubstr("another evaluation"));
  const std::string path = Path("1/evaluation.jsonl");
  ASSERT_TRUE(WriteFileAtomically(path, "{\"format\": 2}\n").ok());
  EXPECT_THAT(EvaluationRecord::Open(Path("1/evaluation.jsonl"), "f").status().message(),
              HasSubstr("another version of graft"));
}

}  // namespace
}  // namespace graft
