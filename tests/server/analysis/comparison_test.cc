#include "server/analysis/comparison.h"

#include "tests/fakes/memory_blob_store.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class ComparisonTest : public ::testing::Test {
 protected:
  // An evaluation that has succeeded, with these scores as its predictions; none: with none.
  std::string Evaluate(const std::vector<double>& scores, const std::string& study = "") {
    NewJob job;
    v1::EvaluateSpec& spec = *job.job.mutable_resolved_spec()->mutable_evaluate();
    spec.set_base_model("gpt2");
    spec.set_base_model_sha256(std::string(64, 'a'));
    spec.mutable_data()->set_validation("valid");
    spec.mutable_data()->set_validation_sha256(std::string(64, 'c'));
    job.job.set_study(study);
    *job.job.mutable_spec() = job.job.resolved_spec();
    const auto inserted = fixture_.store().InsertJob(job);
    EXPECT_OK(inserted);
    AttemptSucceeded success;
    (*success.result.mutable_metrics())["eval/rougeLsum"] = 0.5;
    std::string rows;
    for (size_t i = 0; i < scores.size(); ++i) {
      absl::StrAppend(&rows, "{\"index\": ", i, ", \"rougeLsum\": {\"f\": ", scores[i],
                      "}, \"rouge1\": {\"f\": 0.5}}\n");
    }
    if (!scores.empty()) success.artifacts = {Store(rows)};
    Finish(success);
    return inserted->name();
  }
  // One of the adapters a and b, with a score each.
  std::string EvaluateSeveral(double a, double b, const std::string& display_name = "") {
    NewJob job;
    job.job.set_display_name(display_name);
    v1::EvaluateSpec& spec = *job.job.mutable_resolved_spec()->mutable_evaluate();
    spec.set_base_model("gpt2");
    spec.set_base_model_sha256(std::string(64, 'a'));
    AttemptSucceeded success;
    for (const auto& [name, score] : {std::pair("a", a), std::pair("b", b)}) {
      EXPECT_OK(fixture_.store().InsertAdapter(StoreFixture::NewAdapter(name)));
      spec.add_adapters(name);
      spec.add_adapters_sha256(std::string(64, 'd'));
      v1::AdapterResult& result = *success.result.add_adapters();
      result.set_adapter(name);
      (*result.mutable_metrics())["eval/rougeLsum"] = score;
      success.artifacts.push_back(
          Store(absl::StrCat("{\"index\": 0, \"rougeLsum\": {\"f\": ", score, "}}\n"),
                absl::StrCat("adapters/", name, "/predictions.jsonl")));
    }
    *job.job.mutable_spec() = job.job.resolved_spec();
    const auto inserted = fixture_.store().InsertJob(job);
    EXPECT_OK(inserted);
    Finish(success);
    return inserted->name();
  }
  v1::Artifact Store(const std::string& predictions,
                     const std::string& path = "predictions.jsonl") {
    const auto blob = blobs_.Put(predictions);
    EXPECT_OK(blob);
    v1::Artifact artifact;
    artifact.set_path(path);
    artifact.set_size_bytes(blob->size_bytes);
    artifact.set_sha256(blob->sha256);
    return artifact;
  }
  // Of the only job in the queue.
  void Finish(const AttemptSucceeded& success) {
    const auto claim = fixture_.ClaimNext(kWorker);
    ASSERT_OK(claim);
    ASSERT_OK(fixture_.store().FinishAttempt(fixture_.LeaseOf(*claim, kWorker), 0, success));
  }
  absl::StatusOr<v1::CompareJobsResponse> Compare(const std::vector<std::string>& names,
                                                  const std::string& study = "",
                                                  const std::string& metric = "") {
    v1::CompareJobsRequest request;
    request.mutable_names()->Assign(names.begin(), names.end());
    request.set_study(study);
    request.set_metric(metric);
    return CompareJobs(fixture_.store(), blobs_, request, [] { return false; });
  }

  StoreFixture fixture_{StoreKind::kMemory};
  MemoryBlobStore blobs_;
};

std::vector<std::string> NamesOf(const v1::CompareJobsResponse& response) {
  std::vector<std::string> names;
  for (const v1::ComparedJob& job : response.jobs()) names.push_back(job.job());
  return names;
}

TEST_F(ComparisonTest, EvaluationsArePairedByRowWithTheFirst) {
  const std::string base = Evaluate({0.1, 0.2, 0.3}), better = Evaluate({0.3, 0.2, 0.7});
  const auto response = Compare({base, better});
  ASSERT_OK(response);
  EXPECT_THAT(NamesOf(*response), ElementsAre(base, better));
  EXPECT_EQ(response->jobs(0).label(), "untuned");
  ASSERT_EQ(response->differences_size(), 1);
  const v1::PairedDifference& difference = response->differences(0);
  EXPECT_EQ(difference.job(), better);
  EXPECT_EQ(difference.to_job(), base);
  EXPECT_EQ(difference.label(), "untuned - untuned");
  EXPECT_EQ(difference.metric(), "rougeLsum");
  EXPECT_NEAR(difference.mean(), 0.2, 1e-12);
  EXPECT_EQ(difference.rows(), 3);
  // Mean 0.2, standard deviation 0.2.
  EXPECT_EQ(difference.rows_needed(), 4);
  EXPECT_EQ(Compare({base, better}, "", "rouge1")->differences(0).mean(), 0);
}

TEST_F(ComparisonTest, AnEvaluationOfSeveralAdaptersIsThereOnceForEach) {
  const std::string job = EvaluateSeveral(0.25, 0.75);
  const auto alone = Compare({job});
  ASSERT_OK(alone);
  EXPECT_THAT(NamesOf(*alone), ElementsAre(job, job));
  EXPECT_TRUE(alone->jobs(1).one_of_several());
  EXPECT_EQ(alone->jobs(1).adapter(), "b");
  EXPECT_EQ(alone->jobs(1).label(), "b");
  EXPECT_EQ(alone->jobs(1).metrics().at("eval/rougeLsum"), 0.75);
  ASSERT_EQ(alone->differences_size(), 1);
  EXPECT_EQ(alone->differences(0).label(), "b - a");
  EXPECT_EQ(alone->differences(0).adapter(), "b");
  EXPECT_EQ(alone->differences(0).to_adapter(), "a");
  EXPECT_EQ(alone->differences(0).mean(), 0.5);

  const std::string base = Evaluate({0.5}), named = EvaluateSeveral(0.5, 1, "other rows");
  const auto beside = Compare({base, named});
  ASSERT_OK(beside);
  EXPECT_THAT(NamesOf(*beside), ElementsAre(base, named, named));
  EXPECT_FALSE(beside->jobs(0).one_of_several());
  ASSERT_EQ(beside->differences_size(), 2);
  EXPECT_EQ(beside->differences(1).label(), "other rows: b - untuned");
  EXPECT_EQ(beside->differences(1).to_adapter(), "");
  EXPECT_EQ(beside->differences(1).mean(), 0.5);
}

TEST_F(ComparisonTest, AStudyIsComparedWholeAfterWhatIsNamed) {
  const std::string one = Evaluate({0.1}, "s"), two = Evaluate({0.1}, "s"), other = Evaluate({0.1});
  EXPECT_THAT(NamesOf(*Compare({}, "s")), ElementsAre(one, two));
  EXPECT_THAT(NamesOf(*Compare({other, two, "j2"}, "s")), ElementsAre(other, two, one));
  const absl::Status none = Compare({}, "t").status();
  EXPECT_TRUE(absl::IsNotFound(none));
  EXPECT_THAT(std::string(none.message()), HasSubstr("study \"t\""));
}

TEST_F(ComparisonTest, WhatCannotBeComparedSaysWhy) {
  const std::string base = Evaluate({0.1}), silent = Evaluate({}), good = Evaluate({0.2});
  ASSERT_OK(fixture_.store().InsertJob(StoreFixture::LoraJob()));
  AttemptSucceeded broken;
  broken.artifacts = {Store("{\"index\": 0}\n")};
  Finish(broken);
  const auto response = Compare({silent, base, "jobs/j4", good});
  ASSERT_OK(response);
  ASSERT_EQ(response->differences_size(), 3);
  EXPECT_EQ(response->differences(0).to_job(), base) << "the first that stored predictions";
  EXPECT_THAT(response->differences(0).not_comparable(),
              HasSubstr(silent + " stored no predictions"));
  EXPECT_EQ(response->differences(1).not_comparable(),
            "predictions.jsonl of jobs/j4: line 1 has no rougeLsum");
  EXPECT_EQ(response->differences(2).not_comparable(), "");
  EXPECT_NEAR(response->differences(2).mean(), 0.1, 1e-12);
}

TEST_F(ComparisonTest, JobsThatDidNotSucceedAreLeftOut) {
  const std::string done = Evaluate({0.1});
  const std::string waiting = fixture_.Submit().name();
  const auto response = Compare({waiting, done});
  ASSERT_OK(response);
  EXPECT_THAT(NamesOf(*response), ElementsAre(done));
  ASSERT_EQ(response->left_out_size(), 1);
  EXPECT_EQ(response->left_out(0).job(), waiting);
  EXPECT_EQ(response->left_out(0).why(), "it is QUEUED");
}

TEST_F(ComparisonTest, ATrainingHasItsAdapterAndAnEvaluationThatOfItsAdapter) {
  ASSERT_OK(fixture_.store().InsertJob(StoreFixture::LoraJob()));
  Finish(StoreFixture::Success());
  const auto response = Compare({"jobs/j1"});
  ASSERT_OK(response);
  const v1::ComparedJob& job = response->jobs(0);
  EXPECT_EQ(job.training_job(), "jobs/j1");
  EXPECT_THAT(job.method(), StartsWith("lora"));
  EXPECT_EQ(job.trainable_parameters(), 123);
  EXPECT_EQ(job.adapter(), "j1");
  EXPECT_THAT(response->differences(), IsEmpty()) << "there is nothing to pair it with";
}

TEST_F(ComparisonTest, BadRequestsNameTheField) {
  EXPECT_THAT(std::string(Compare({}).status().message()), HasSubstr("names: must name jobs"));
  EXPECT_THAT(std::string(Compare({"j1"}, "", "loss").status().message()),
              HasSubstr("metric: must be rouge1"));
  EXPECT_TRUE(absl::IsInvalidArgument(Compare({".."}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Compare({}, std::string(200, 's')).status()));
  EXPECT_TRUE(absl::IsNotFound(Compare({"jobs/none"}).status()));
  std::vector<std::string> many;
  for (size_t i = 0; i <= kMaxComparedJobs; ++i) many.push_back(absl::StrCat("j", i));
  EXPECT_THAT(std::string(Compare(many).status().message()), HasSubstr("more than 100 jobs"));
}

TEST_F(ComparisonTest, AdaptersCountWhereThereAreTooMany) {
  std::vector<std::string> names;
  for (size_t i = 0; i <= kMaxComparedJobs / 2; ++i) names.push_back(EvaluateSeveral(0, 1));
  EXPECT_THAT(std::string(Compare(names).status().message()), HasSubstr("more than 100 results"));
  names.pop_back();
  EXPECT_EQ(Compare(names)->jobs_size(), 100);
}

}  // namespace
}  // namespace graft
