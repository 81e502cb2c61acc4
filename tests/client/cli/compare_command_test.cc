#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/cli/command_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;

// Evaluations of one row, listed one a page. Job n scored n tenths; jobs/3 had no stemmer. From
// jobs/5 on fine-tune jobs without artifacts: jobs/n was validated on the first n rows.
class FakeComparedJobs : public v1::JobService::Service {
 public:
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override {
    const std::string& token = request->page_token();
    const std::string id = token.empty() ? "1" : token;
    response->add_jobs()->set_name("jobs/" + id);
    if (id != "3") response->set_next_page_token(id == "1" ? "2" : "3");
    return grpc::Status::OK;
  }
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                      v1::Job* job) override {
    job->set_name(request->name());
    job->set_state(v1::JOB_STATE_SUCCEEDED);
    if (const int rows = request->name().back() - '0'; rows >= 5) {
      v1::DataSpec* data = job->mutable_resolved_spec()->mutable_fine_tune()->mutable_data();
      data->set_validation("valid");
      data->set_max_validation_rows(rows);
      return grpc::Status::OK;
    }
    job->mutable_resolved_spec()->mutable_evaluate();
    job->mutable_result()->mutable_fingerprint()->set_use_stemmer(request->name() != "jobs/3");
    return grpc::Status::OK;
  }
  grpc::Status ListJobArtifacts(grpc::ServerContext*, const v1::ListJobArtifactsRequest* request,
                                v1::ListJobArtifactsResponse* response) override {
    if (request->name() < "jobs/5") response->add_artifacts()->set_path("predictions.jsonl");
    return grpc::Status::OK;
  }
  grpc::Status DownloadJobArtifact(grpc::ServerContext*,
                                   const v1::DownloadJobArtifactRequest* request,
                                   grpc::ServerWriter<v1::FileChunk>* writer) override {
    v1::FileChunk chunk;
    chunk.set_path(request->path());
    chunk.set_data(absl::StrCat("{\"index\": 0, \"rougeLsum\": {\"f\": 0.",
                                request->name().substr(5), "}}\n"));
    chunk.set_size_bytes(static_cast<int64_t>(chunk.data().size()));
    writer->Write(chunk);
    return grpc::Status::OK;
  }
};

class CompareCommandTest : public ::testing::Test {
 protected:
  // What it prints, as JSON.
  std::vector<nlohmann::json> Run(std::vector<std::string> words) {
    server_.context().json = true;
    words.insert(words.begin(), "compare");
    ::testing::internal::CaptureStdout();
    const absl::Status status = server_.Run(AddCompareCommand, words);
    const std::string text = ::testing::internal::GetCapturedStdout();
    EXPECT_TRUE(status.ok()) << status;
    std::vector<nlohmann::json> rows;
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      rows.push_back(nlohmann::json::parse(line));
    }
    return rows;
  }

  FakeComparedJobs jobs_;
  CommandServer server_{std::vector<grpc::Service*>{&jobs_}};
};

std::vector<std::string> NamesOf(const std::vector<nlohmann::json>& rows) {
  std::vector<std::string> names;
  for (const nlohmann::json& row : rows) names.push_back(row["job"]);
  return names;
}

TEST_F(CompareCommandTest, AStudyIsComparedWholeHoweverManyPagesItHas) {
  EXPECT_THAT(NamesOf(Run({"--study", "s"})), ElementsAre("jobs/1", "jobs/2", "jobs/3"));
  // What is named stands first, and once.
  EXPECT_THAT(NamesOf(Run({"jobs/2", "--study", "s"})), ElementsAre("jobs/2", "jobs/1", "jobs/3"));
}

TEST_F(CompareCommandTest, JsonHasThePairedDifferenceToTheFirstJob) {
  const std::vector<nlohmann::json> rows = Run({"jobs/1", "jobs/2", "jobs/3"});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_FALSE(rows[0].contains("difference"));
  const nlohmann::json& difference = rows[1]["difference"];
  EXPECT_EQ(difference["to_job"], "jobs/1");
  EXPECT_EQ(difference["metric"], "rougeLsum");
  EXPECT_NEAR(difference["mean"].get<double>(), 0.1, 1e-12);
  EXPECT_NEAR(difference["low"].get<double>(), 0.1, 1e-12);
  EXPECT_NEAR(difference["high"].get<double>(), 0.1, 1e-12);
  EXPECT_EQ(difference["rows"], 1);
  EXPECT_EQ(rows[2]["difference"]["not_comparable"], "use_stemmer is false, not true");
  EXPECT_FALSE(rows[2]["difference"].contains("mean"));
}

TEST_F(CompareCommandTest, JsonSaysWhichFineTuneJobsWereValidatedOtherwise) {
  const std::vector<nlohmann::json> rows = Run({"jobs/5", "jobs/6"});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_FALSE(rows[0].contains("validation"));
  EXPECT_EQ(rows[1]["validation"],
            nlohmann::json(
                {{"to_job", "jobs/5"}, {"not_comparable", "max_validation_rows is 6, not 5"}}));
}

}  // namespace
}  // namespace graft
