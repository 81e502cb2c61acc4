// Jobs whose data cannot be read as they ask for it are refused at submission.

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string NullRow(int i) {
  return absl::StrCat(R"({"document": "d", "id": "r)", i, R"(", "summary": null})", "\n");
}

class JobDataTest : public ::testing::Test {
 protected:
  v1::CreateJobRequest JobOn(const std::string& data_set) {
    v1::CreateJobRequest request = LoraJob();
    Data(request).set_train(data_set);
    return request;
  }
  static v1::DataSpec& Data(v1::CreateJobRequest& request) {
    return *request.mutable_job()->mutable_spec()->mutable_fine_tune()->mutable_data();
  }

  TestServer server_;
};

TEST_F(JobDataTest, ARowThatTheJobCannotUseIsNamedWithItsLineAndDataSet) {
  ASSERT_TRUE(server_.Upload("bad", NewsRows(3) + NullRow(4) + NewsRows(2)).ok());
  for (const bool validate_only : {true, false, false}) {
    v1::CreateJobRequest request = JobOn("bad");
    request.set_validate_only(validate_only);
    const absl::Status refused = server_.Create(request).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    const auto violations = FieldViolationsOf(refused);
    ASSERT_EQ(violations.size(), 1u);
    EXPECT_EQ(violations[0].field(), "job.spec.fine_tune.data.train");
    EXPECT_THAT(violations[0].description(),
                StartsWith("data set \"bad\": line 4: field \"summary\" is null; "));
  }
}

TEST_F(JobDataTest, TheFirstTwentyAreListedAndTheRestIsCounted) {
  std::string rows;
  for (int i = 0; i < 27; ++i) rows += NullRow(i);
  ASSERT_TRUE(server_.Upload("bad", rows).ok());
  const auto violations = FieldViolationsOf(server_.Create(JobOn("bad")).status());
  ASSERT_EQ(violations.size(), 22u);
  EXPECT_EQ(violations[0].description(), "data set \"bad\" has 27 rows that the job cannot use:");
  EXPECT_THAT(violations[1].description(), StartsWith("line 1: field \"summary\" is null"));
  EXPECT_THAT(violations[20].description(), StartsWith("line 20: "));
  EXPECT_EQ(violations[21].description(), "… and 7 more");
}

TEST_F(JobDataTest, BothDataSetsAreJudgedAndOthersFieldsAreNot) {
  ASSERT_TRUE(server_.Upload("bad", NewsRows(1) + NullRow(2)).ok());
  v1::CreateJobRequest request = LoraJob();
  Data(request).set_validation("bad");
  EXPECT_EQ(FieldViolationsOf(server_.Create(request).status())[0].field(),
            "job.spec.fine_tune.data.validation");
  v1::CreateJobRequest other = JobOn("bad");
  Data(other).set_target_field("id");
  EXPECT_TRUE(server_.Create(other).ok());
}

TEST_F(JobDataTest, TheSameBytesAreJudgedByTheFormatOfEachDataSet) {
  const std::string lines = "text\nIt rains, it \"pours.\n";
  v1::UploadDatasetRequest::Metadata metadata;
  metadata.set_format(v1::DATASET_FORMAT_TEXT);
  ASSERT_TRUE(server_.Upload("notes", lines, metadata).ok());
  metadata.set_format(v1::DATASET_FORMAT_CSV);
  const std::string table = "text\n\"It rains, it pours.\"\nThe sun shines.\n";
  ASSERT_TRUE(server_.Upload("table", table, metadata).ok());
  metadata.set_format(v1::DATASET_FORMAT_TEXT);
  ASSERT_TRUE(server_.Upload("table-lines", table, metadata).ok());
  for (const char* name : {"notes", "table", "table-lines"}) {
    v1::CreateJobRequest request = JobOn(name);
    Data(request).set_text_field("text");
    EXPECT_TRUE(server_.Create(request).ok()) << name << ": " << server_.Create(request).status();
  }
  const absl::Status pairs = server_.Create(JobOn("notes")).status();
  EXPECT_EQ(FieldViolationsOf(pairs).at(0).field(), "job.spec.fine_tune.data.source_field");
  EXPECT_EQ(FieldViolationsOf(pairs).at(0).description(),
            "\"document\" is no field of notes, which has text alone: text_field trains on that as "
            "plain text");
}

TEST_F(JobDataTest, WhatTheJobLeavesOutIsNoProblem) {
  ASSERT_TRUE(server_.Upload("bad", NewsRows(8) + NullRow(9)).ok());
  v1::CreateJobRequest request = JobOn("bad");
  Data(request).set_max_train_rows(9);
  EXPECT_FALSE(server_.Create(request).ok());
  Data(request).set_max_train_rows(8);
  EXPECT_TRUE(server_.Create(request).ok());
}

TEST_F(JobDataTest, ARequestThatWasAnsweredIsAnsweredAlikeWithoutItsData) {
  ASSERT_TRUE(server_.Upload("good", NewsRows(20)).ok());
  v1::CreateJobRequest request = JobOn("good");
  request.set_request_id("once");
  const auto created = server_.Create(request);
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_TRUE(server_.Cancel(created->name()).ok());
  ASSERT_TRUE(server_.store().DeleteDataset("good").ok());
  const auto again = server_.Create(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->name(), created->name());
}

TEST_F(JobDataTest, WhoseDataIsKnownDoesNotWaitForWhatIsRead) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok()) << "now \"news\" is known";
  ASSERT_TRUE(server_.Upload("large", NewsRows(20)).ok());
  Mutex mutex;
  CondVar changed;
  bool over = false;
  int busy = kShortThreads;
  for (int i = 0; i < kShortThreads; ++i) {
    server_.rpc().context().runtime.executor(Lane::kCheck).Schedule([&] {
      MutexLock lock(mutex);
      while (!over) changed.Wait(mutex);
      --busy;
      changed.NotifyAll();
    });
  }
  v1::CreateJobRequest request = JobOn("large");
  request.set_request_id("patient");
  v1::Job job;
  grpc::ClientContext hurried;
  hurried.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const grpc::Status late = server_.jobs().CreateJob(&hurried, request, &job);
  const absl::Status quick = server_.Create(LoraJob("another")).status();
  {
    MutexLock lock(mutex);
    over = true;
    changed.NotifyAll();
    while (busy > 0) changed.Wait(mutex);
  }
  EXPECT_EQ(late.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(quick.ok()) << quick;
  const auto created = server_.Create(request);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(server_.Create(request)->name(), created->name());
}

TEST_F(JobDataTest, ManyWhoAskAtOnceAreAllAnswered) {
  ASSERT_TRUE(server_.Upload("good", NewsRows(2000)).ok());
  std::vector<std::thread> callers;
  std::vector<absl::Status> answers(12);
  for (size_t i = 0; i < answers.size(); ++i) {
    callers.emplace_back([&, i] { answers[i] = server_.Create(JobOn("good")).status(); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const absl::Status& answer : answers) EXPECT_TRUE(answer.ok()) << answer;
}

TEST_F(JobDataTest, BytesThatAreGoneAreSaid) {
  const auto dataset = server_.Upload("lost", NewsRows(5));
  ASSERT_TRUE(dataset.ok());
  ASSERT_TRUE(server_.blobs().Delete(dataset->sha256()).ok());
  const absl::Status refused = server_.Create(JobOn("lost")).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("data set \"lost\""));
}

TEST_F(JobDataTest, AnUploadNamesAllItsBrokenLines) {
  const absl::Status refused = server_.Upload("bad", "{\"a\": \n" + NewsRows(1) + "17\n").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("line 1: "));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("; line 3: "));
}

}  // namespace
}  // namespace graft
