#include "server/analysis/row_losses.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/formats/row_loss_file.h"
#include "tests/fakes/memory_blob_store.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RowLossesTest : public ::testing::Test {
 protected:
  // Of a job that has succeeded with these files.
  std::string Succeed(const std::string& rows, const std::string& predictions = "") {
    AttemptSucceeded success = StoreFixture::Success();
    success.artifacts.clear();
    if (!rows.empty()) success.artifacts.push_back(Store("row_losses.jsonl", rows));
    if (!predictions.empty()) {
      success.artifacts.push_back(Store("predictions.jsonl", predictions));
    }
    const LeaseRef lease = fixture_.Start(kWorker);
    EXPECT_OK(fixture_.store().FinishAttempt(lease, 0, success));
    return lease.job;
  }
  v1::Artifact Store(const std::string& path, const std::string& content) {
    const auto blob = blobs_.Put(content);
    EXPECT_OK(blob);
    v1::Artifact artifact;
    artifact.set_path(path);
    artifact.set_size_bytes(blob->size_bytes);
    artifact.set_sha256(blob->sha256);
    return artifact;
  }
  absl::StatusOr<v1::ReadRowsResponse> Read(const std::string& job,
                                            v1::RowOrder order = v1::ROW_ORDER_UNSPECIFIED,
                                            int page_size = 0, const std::string& token = "") {
    v1::ReadRowsRequest request;
    request.set_name(job);
    request.set_order(order);
    request.set_page_size(page_size);
    request.set_page_token(token);
    return ReadJobRows(fixture_.store(), blobs_, request, [] { return false; });
  }

  // Of a training that was asked for the losses of its rows, and has succeeded.
  std::string SucceedWithTrainRows(const std::string& rows, const std::string& train_rows,
                                   const std::string& predictions) {
    NewJob job = StoreFixture::LoraJob();
    job.job.mutable_resolved_spec()
        ->mutable_fine_tune()
        ->mutable_evaluation()
        ->set_train_row_losses(true);
    EXPECT_OK(fixture_.store().InsertJob(job));
    const auto claim = fixture_.ClaimNext(kWorker);
    EXPECT_OK(claim);
    AttemptSucceeded success = StoreFixture::Success();
    success.artifacts.clear();
    if (!rows.empty()) success.artifacts.push_back(Store("row_losses.jsonl", rows));
    if (!train_rows.empty()) {
      success.artifacts.push_back(Store("train_row_losses.jsonl", train_rows));
    }
    if (!predictions.empty()) {
      success.artifacts.push_back(Store("predictions.jsonl", predictions));
    }
    EXPECT_OK(fixture_.store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0, success));
    return claim->job.name();
  }
  absl::StatusOr<v1::ReadRowsResponse> ReadTrain(const std::string& job,
                                                 const std::string& token = "") {
    v1::ReadRowsRequest request;
    request.set_name(job);
    request.set_order(v1::ROW_ORDER_WORST);
    request.set_train(true);
    request.set_page_size(2);
    request.set_page_token(token);
    return ReadJobRows(fixture_.store(), blobs_, request, [] { return false; });
  }

  StoreFixture fixture_{StoreKind::kMemory};
  MemoryBlobStore blobs_;
};

std::vector<int64_t> RowsOf(const v1::ReadRowsResponse& response) {
  std::vector<int64_t> rows;
  for (const v1::RowLoss& row : response.rows()) rows.push_back(row.row());
  return rows;
}

constexpr char kRows[] =
    "{\"row\":0,\"line\":1,\"id\":\"a\",\"tokens\":4,\"loss\":2.5,\"untuned_loss\":3,\"source\":"
    "\"s\","
    "\"target\":\"t\"}\n"
    "{\"row\":1,\"line\":2,\"tokens\":4,\"loss\":1,\"untuned_loss\":0.5}\n"
    "{\"row\":4,\"line\":5,\"tokens\":4,\"loss\":4,\"untuned_loss\":4}\n";

TEST_F(RowLossesTest, OfSeveralAdaptersTheRowsAreThoseOfTheOneThatIsNamed) {
  NewJob job;
  v1::EvaluateSpec& spec = *job.job.mutable_resolved_spec()->mutable_evaluate();
  spec.set_base_model("gpt2");
  spec.set_base_model_sha256(std::string(64, 'a'));
  AttemptSucceeded success;
  for (const auto& [name, row] : {std::pair("a", "3"), std::pair("b", "5")}) {
    ASSERT_OK(fixture_.store().InsertAdapter(StoreFixture::NewAdapter(name)));
    spec.add_adapters(name);
    spec.add_adapters_sha256(std::string(64, 'd'));
    const std::string folder = absl::StrCat("adapters/", name, "/");
    success.artifacts.push_back(
        Store(folder + "row_losses.jsonl", absl::StrCat("{\"row\":", row, ",\"loss\":1}\n")));
    success.artifacts.push_back(
        Store(folder + "predictions.jsonl",
              absl::StrCat("{\"index\":", row, ",\"prediction\":\"by ", name, "\"}\n")));
  }
  *job.job.mutable_spec() = job.job.resolved_spec();
  ASSERT_OK(fixture_.store().InsertJob(job));
  const auto claim = fixture_.ClaimNext(kWorker);
  ASSERT_OK(claim);
  const LeaseRef lease = fixture_.LeaseOf(*claim, kWorker);
  ASSERT_OK(fixture_.store().FinishAttempt(lease, 0, success));
  v1::ReadRowsRequest request;
  request.set_name(lease.job);
  const auto read = [&](const std::string& adapter) {
    request.set_adapter(adapter);
    return ReadJobRows(fixture_.store(), blobs_, request, [] { return false; });
  };
  const auto response = read("b");
  ASSERT_OK(response);
  EXPECT_THAT(RowsOf(*response), ElementsAre(5));
  EXPECT_EQ(response->rows(0).prediction(), "by b");
  EXPECT_THAT(std::string(read("").status().message()),
              HasSubstr("adapter: is required: jobs/j1 evaluated a, b"));
  EXPECT_THAT(std::string(read("c").status().message()), HasSubstr("is none of them"));
  request.set_name(Succeed(kRows));
  EXPECT_THAT(std::string(read("a").status().message()),
              HasSubstr("is for evaluations of several adapters"));
}

TEST_F(RowLossesTest, RowsComeInTheOrderThatIsAskedFor) {
  const std::string job = Succeed(kRows, "{\"index\":4,\"prediction\":\"text\"}\nbroken\n");
  const auto response = Read(job);
  ASSERT_OK(response);
  EXPECT_THAT(RowsOf(*response), ElementsAre(0, 1, 4));
  EXPECT_EQ(response->total(), 3);
  EXPECT_EQ(response->step(), 7);
  EXPECT_TRUE(response->complete());
  EXPECT_EQ(response->rows(0).line(), 1);
  EXPECT_EQ(response->rows(0).id(), "a");
  EXPECT_EQ(response->rows(0).tokens(), 4);
  EXPECT_EQ(response->rows(0).loss(), 2.5);
  EXPECT_EQ(response->rows(0).untuned_loss(), 3);
  EXPECT_EQ(response->rows(0).source(), "s");
  EXPECT_EQ(response->rows(0).target(), "t");
  EXPECT_EQ(response->rows(2).prediction(), "text");
  EXPECT_THAT(RowsOf(*Read(job, v1::ROW_ORDER_WORST)), ElementsAre(4, 0, 1));
  EXPECT_THAT(RowsOf(*Read(job, v1::ROW_ORDER_LOST)), ElementsAre(1, 4, 0));
}

TEST_F(RowLossesTest, TrainingRowsAreAskedForByThemselves) {
  const std::string job = SucceedWithTrainRows(
      "{\"row\":9,\"loss\":1}\n", kRows, "{\"index\":4,\"prediction\":\"of a validation row\"}\n");
  const auto train = ReadTrain(job);
  ASSERT_OK(train);
  EXPECT_THAT(RowsOf(*train), ElementsAre(4, 0));
  EXPECT_EQ(train->rows(0).prediction(), "");
  EXPECT_EQ(train->total(), 3);
  EXPECT_EQ(train->step(), 7);
  EXPECT_THAT(RowsOf(*ReadTrain(job, train->next_page_token())), ElementsAre(1));
  EXPECT_THAT(RowsOf(*Read(job)), ElementsAre(9));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Read(job, v1::ROW_ORDER_WORST, 2, train->next_page_token()).status()))
      << "of other rows";
  const std::string broken = SucceedWithTrainRows("", "broken", "");
  EXPECT_EQ(ReadTrain(broken).status().message(), "train_row_losses.jsonl: line 1 is broken");
}

TEST_F(RowLossesTest, WhatIsNotFiniteIsTheWorstAndWhatCannotHaveLostComesLast) {
  const std::string job = Succeed(
      "{\"row\":0,\"loss\":9,\"tokens\":1}\n"
      "{\"row\":1,\"loss\":2,\"untuned_loss\":4}\n"
      "{\"row\":2,\"loss\":null,\"untuned_loss\":4}\n");
  const auto worst = Read(job, v1::ROW_ORDER_WORST);
  ASSERT_OK(worst);
  EXPECT_THAT(RowsOf(*worst), ElementsAre(2, 0, 1));
  EXPECT_TRUE(std::isnan(worst->rows(0).loss()));
  const auto lost = Read(job, v1::ROW_ORDER_LOST);
  ASSERT_OK(lost);
  EXPECT_THAT(RowsOf(*lost), ElementsAre(2, 1, 0));
  EXPECT_FALSE(lost->rows(2).has_untuned_loss());
}

TEST_F(RowLossesTest, AFileOfTheMostRowsSaysThatThereMayBeMore) {
  std::string rows;
  for (int64_t row = 0; row < kMaxRowLosses; ++row) {
    absl::StrAppend(&rows, "{\"row\":", row, ",\"loss\":1}\n");
  }
  const auto response = Read(Succeed(rows));
  ASSERT_OK(response);
  EXPECT_EQ(response->total(), kMaxRowLosses);
  EXPECT_FALSE(response->complete());
  EXPECT_EQ(Read(Succeed(absl::StrCat(rows, "{\"row\":10000,\"loss\":1}\n"))).status().message(),
            "row_losses.jsonl: line 10001 is one too many");
}

TEST_F(RowLossesTest, PagesHaveEachRowOnce) {
  const std::string job = Succeed(kRows);
  const auto first = Read(job, v1::ROW_ORDER_WORST, 2);
  ASSERT_OK(first);
  EXPECT_THAT(RowsOf(*first), ElementsAre(4, 0));
  const auto second = Read(job, v1::ROW_ORDER_WORST, 2, first->next_page_token());
  ASSERT_OK(second);
  EXPECT_THAT(RowsOf(*second), ElementsAre(1));
  EXPECT_EQ(second->next_page_token(), "");
  EXPECT_TRUE(
      absl::IsInvalidArgument(Read(job, v1::ROW_ORDER_LOST, 2, first->next_page_token()).status()))
      << "of another order";
  EXPECT_TRUE(absl::IsInvalidArgument(Read(job, v1::ROW_ORDER_FILE, -1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Read(job, static_cast<v1::RowOrder>(9)).status()));
}

TEST_F(RowLossesTest, WhatThereIsNotSaysWhy) {
  EXPECT_TRUE(absl::IsNotFound(Read("jobs/none").status()));
  const auto says = [&](const std::string& job, v1::RowOrder order, const std::string& why) {
    const absl::Status status = Read(job, order).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_EQ(ReasonOf(status), kReasonWrongState);
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  };
  says(Succeed(""), v1::ROW_ORDER_FILE, "was run by an earlier graft");
  says(Succeed("{\"row\":0,\"loss\":2}\n"), v1::ROW_ORDER_LOST, "no losses of the untuned model");
  const auto train = [&](const std::string& job) {
    const absl::Status status = ReadTrain(job).status();
    EXPECT_EQ(ReasonOf(status), kReasonWrongState);
    return std::string(status.message());
  };
  EXPECT_THAT(train(Succeed(kRows)), HasSubstr("was not asked for the losses of its training rows "
                                               "(evaluation.train_row_losses)"));
  EXPECT_THAT(train(SucceedWithTrainRows("", "", "")), HasSubstr("was run by an earlier graft"));
  NewJob evaluation = StoreFixture::LoraJob();
  v1::EvaluateSpec& spec = *evaluation.job.mutable_resolved_spec()->mutable_evaluate();
  spec.set_base_model("gpt2");
  spec.set_base_model_sha256(std::string(64, 'a'));
  spec.mutable_data()->set_validation("valid");
  spec.mutable_data()->set_validation_sha256(std::string(64, 'c'));
  const auto job = fixture_.store().InsertJob(evaluation);
  ASSERT_OK(job);
  EXPECT_THAT(train(job->name()), HasSubstr("is an evaluation, which has no training rows"));
  says(fixture_.Submit().name(), v1::ROW_ORDER_FILE, "is QUEUED: the losses of its rows");
}

TEST_F(RowLossesTest, ABrokenFileIsNamedByItsLine) {
  for (const char* line : {"no JSON", "[]", "{\"row\":0}", "{\"row\":\"0\",\"loss\":1}",
                           "{\"row\":0,\"loss\":\"1\"}", "{\"row\":0.5,\"loss\":1}"}) {
    const absl::Status status = Read(Succeed(absl::StrCat(kRows, line, "\n"))).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << line;
    EXPECT_EQ(status.message(), "row_losses.jsonl: line 4 is broken");
  }
}

}  // namespace
}  // namespace graft
