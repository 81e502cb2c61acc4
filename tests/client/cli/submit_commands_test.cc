#include <cstdio>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/errors/status_details.h"
#include "common/rpc/status.h"
#include "gmock/gmock.h"
#include "graft/v1/study.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_server.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Takes `capacity` jobs, and then answers with `full`.
class FakeJobs : public v1::JobService::Service {
 public:
  grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest* request,
                         v1::Job* job) override {
    *job = request->job();
    if (!refusal.ok()) return ToGrpcStatus(refusal);
    const absl::Status missing = MissingData(request->job().spec().fine_tune().data());
    if (!missing.ok()) return ToGrpcStatus(missing);
    if (!warning.empty()) job->add_warnings()->set_text(warning);
    if (request->validate_only()) {
      *job->mutable_resolved_spec() = job->spec();
      job->mutable_resolved_spec()->mutable_fine_tune()->set_base_model_sha256("12");
      return grpc::Status::OK;
    }
    created.push_back(*request);
    if (created.size() > capacity) return grpc::Status(full, "the answer of this test");
    job->set_name(absl::StrCat("jobs/", created.size()));
    return grpc::Status::OK;
  }

  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest* request,
                      v1::Job* job) override {
    job->set_name(request->name());
    return grpc::Status::OK;
  }

  absl::Status MissingData(const v1::DataSpec& data) {
    Violations violations;
    const std::string path = "job.spec.fine_tune.data";
    for (const auto& [field, name] :
         {std::pair(".train", data.train()), std::pair(".validation", data.validation())}) {
      if (name.empty() || datasets.contains(name)) continue;
      violations.Add(path + field, "there is no data set " + name, kReasonDatasetMissing);
    }
    const absl::Status missing = violations.ToStatus();
    violations.AddAll(beside_missing_data);
    return missing.ok() || beside_missing_data.ok() ? missing : violations.ToStatus();
  }

  std::set<std::string> datasets = {"d"};  // What is there.
  absl::Status beside_missing_data;        // What else is wrong while data is missing.
  absl::Status refusal;                    // Unless OK, the answer to everything.
  size_t capacity = 100;
  std::string warning;  // Of every job.
  grpc::StatusCode full = grpc::StatusCode::UNAVAILABLE;
  std::vector<v1::CreateJobRequest> created;
};

// Makes two trials of everything.
class FakeStudies : public v1::StudyService::Service {
 public:
  grpc::Status CreateStudy(grpc::ServerContext*, const v1::CreateStudyRequest* request,
                           v1::Study* study) override {
    if (!refusal.ok()) return ToGrpcStatus(refusal);
    created.push_back(*request);
    *study = request->study();
    study->set_name("studies/s");
    for (const char* job : {"jobs/t1", "jobs/t2"}) study->add_trials()->set_job(job);
    return grpc::Status::OK;
  }

  absl::Status refusal;
  std::vector<v1::CreateStudyRequest> created;
};

// Takes everything into the data sets of `jobs`.
class FakeUploads : public v1::DatasetService::Service {
 public:
  explicit FakeUploads(FakeJobs& jobs) : jobs_(jobs) {}
  grpc::Status UploadDataset(grpc::ServerContext*, grpc::ServerReader<v1::UploadDatasetRequest>* in,
                             v1::Dataset*) override {
    v1::UploadDatasetRequest message;
    while (in->Read(&message)) {
      if (message.has_metadata()) names.push_back(message.metadata().name());
    }
    jobs_.datasets.insert(names.back());
    return grpc::Status::OK;
  }

  std::vector<std::string> names;

 private:
  FakeJobs& jobs_;
};

class SubmitCommandsTest : public ::testing::Test {
 protected:
  static ApiClient::Options Impatient() {
    ApiClient::Options options;
    options.patience = absl::ZeroDuration();
    return options;
  }

  // A LoRA job on the data set "d" with the flags of `more`.
  absl::Status Submit(const std::vector<std::string>& more) { return Submit("d", more); }
  absl::Status Submit(const std::string& train, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"submit", "--base-model", "m",  "--method",
                                      "lora",   "--train",      train};
    words.insert(words.end(), more.begin(), more.end());
    return Run(AddSubmitCommand, words);
  }

  // `errors_` is what standard error got, `output_` what standard output got.
  absl::Status Run(const std::function<void(CLI::App&, RunCommand&)>& add,
                   const std::vector<std::string>& words) {
    ::testing::internal::CaptureStderr();
    ::testing::internal::CaptureStdout();
    const absl::Status status = server_.Run(add, words);
    std::fflush(stdout);
    output_ = ::testing::internal::GetCapturedStdout();
    errors_ = ::testing::internal::GetCapturedStderr();
    return status;
  }

  std::string Write(const std::string& name, const std::string& content) {
    EXPECT_TRUE(WriteFileAtomically(directory_.Path(name), content).ok());
    return directory_.Path(name);
  }

  std::vector<std::string> RequestIds() const {
    std::vector<std::string> ids;
    for (const v1::CreateJobRequest& request : jobs_.created) ids.push_back(request.request_id());
    return ids;
  }

  FakeJobs jobs_;
  FakeUploads uploads_{jobs_};
  FakeStudies studies_;
  CommandServer server_{std::vector<grpc::Service*>{&jobs_, &uploads_, &studies_}, Impatient()};
  TempDir directory_;
  std::string errors_, output_;
};

TEST_F(SubmitCommandsTest, TheSameRequestIdMakesTheSameRequests) {
  ASSERT_TRUE(Submit({"--request-id", "one"}).ok());
  EXPECT_EQ(RequestIds().back(), "one");
  for (const char* id : {"mine", "mine", "yours"}) {
    ASSERT_TRUE(Submit({"--rank", "2,4", "--request-id", id}).ok());
  }
  ASSERT_EQ(studies_.created.size(), 3u);
  EXPECT_EQ(studies_.created[0].SerializeAsString(), studies_.created[1].SerializeAsString());
  EXPECT_EQ(studies_.created[0].request_id(), "mine");
  EXPECT_NE(studies_.created[0].study().display_name(), studies_.created[2].study().display_name());
}

TEST_F(SubmitCommandsTest, AListMakesAStudy) {
  ASSERT_TRUE(Submit({"--rank", "2,4", "--study", "ranks", "--output-name", "best"}).ok());
  EXPECT_TRUE(jobs_.created.empty());
  ASSERT_EQ(studies_.created.size(), 1u);
  const v1::Study& study = studies_.created[0].study();
  EXPECT_EQ(study.display_name(), "ranks");
  EXPECT_EQ(study.output_name(), "best");
  EXPECT_EQ(study.space().at("fine_tune.method.lora.rank").choices().values_size(), 2);
  EXPECT_THAT(output_, HasSubstr("jobs/t1"));
  EXPECT_THAT(output_, HasSubstr("study: graft"));
  EXPECT_THAT(output_, HasSubstr(" study watch studies/s\n"));
}

TEST_F(SubmitCommandsTest, ARequestIdThatTheServerWouldRefuseIsUsage) {
  const std::string longest(kMaxRequestIdBytes, 'x');
  EXPECT_EQ(Submit({"--rank", "2,4", "--request-id", longest + "x"}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(studies_.created.empty());
  EXPECT_EQ(Submit({"--request-id", "two words"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(jobs_.created.empty());
}

TEST_F(SubmitCommandsTest, ALostAnswerTellsHowToRepeat) {
  jobs_.capacity = 0;
  EXPECT_EQ(Submit({}).code(), absl::StatusCode::kUnavailable);
  ASSERT_EQ(jobs_.created.size(), 1u);
  EXPECT_THAT(errors_, HasSubstr("--request-id " + jobs_.created[0].request_id() + "\n"));
}

TEST_F(SubmitCommandsTest, WarningsOfTheServerAreToldAtOnce) {
  jobs_.warning = "old was trained otherwise";
  ASSERT_TRUE(Submit({}).ok());
  EXPECT_EQ(errors_, "graft: warning: old was trained otherwise\n");
  ASSERT_TRUE(Submit({"--validate-only", "--watch"}).ok());
  EXPECT_THAT(errors_, HasSubstr("graft: warning: old was trained otherwise\n"));
}

TEST_F(SubmitCommandsTest, ARefusedJobNeedsNoRepetition) {
  jobs_.capacity = 0;
  jobs_.full = grpc::StatusCode::NOT_FOUND;
  EXPECT_EQ(Submit({}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(errors_, "");
}

TEST_F(SubmitCommandsTest, WhatValidationPrintsIsAJobFile) {
  const std::vector<std::string> flags = {"--rank", "4", "--epochs", "3"};
  std::vector<std::string> validate = flags;
  validate.push_back("--validate-only");
  ASSERT_TRUE(Submit(validate).ok());
  EXPECT_EQ(errors_, "graft: valid; as it would run:\n");
  const std::string file = Write("job.json", output_);
  ASSERT_TRUE(Run(AddSubmitCommand, {"submit", "--file", file}).ok());
  ASSERT_TRUE(Submit(flags).ok());
  ASSERT_EQ(jobs_.created.size(), 2u);
  EXPECT_EQ(jobs_.created[0].job().spec().DebugString(),
            jobs_.created[1].job().spec().DebugString());
  // For programs it is the whole job, which is a job file, too.
  server_.context().json = true;
  ASSERT_TRUE(Submit(validate).ok());
  ASSERT_TRUE(Run(AddSubmitCommand, {"submit", "--file", Write("whole.json", output_)}).ok());
  EXPECT_EQ(jobs_.created[2].job().spec().DebugString(),
            jobs_.created[1].job().spec().DebugString());
}

TEST_F(SubmitCommandsTest, EachCommandTakesTheFilesOfItsTask) {
  const std::string tune = Write("tune.json", R"({"fine_tune": {"base_model": "m"}})");
  const std::string evaluation = Write("eval.yaml", "spec: {evaluate: {base_model: m}}\n");
  const absl::Status evaluated = Run(AddEvalCommand, {"eval", "--data", "d", "--file", tune});
  EXPECT_EQ(evaluated.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(evaluated.message()),
              HasSubstr("tune.json: is a fine-tune job; graft submit --file "));
  const absl::Status submitted = Submit({"--file", evaluation});
  EXPECT_EQ(submitted.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(submitted.message()),
              HasSubstr("eval.yaml: is an evaluate job; graft eval --file "));
  EXPECT_TRUE(jobs_.created.empty());
  EXPECT_TRUE(Run(AddEvalCommand, {"eval", "--data", "d", "--file", evaluation}).ok());
}

TEST_F(SubmitCommandsTest, ErrorsNameTheFlagThatWasTheCause) {
  EXPECT_EQ(Submit({"--rank", "0"}).message(), "--rank: is 0; must be 1 or greater");
  // Of the server.
  Violations violations;
  violations.Add("job.spec.fine_tune.method.lora.rank", "is 900, beyond the layer");
  jobs_.refusal = violations.ToStatus();
  EXPECT_EQ(Submit({"--rank", "900"}).message(), "--rank: is 900, beyond the layer");
  EXPECT_EQ(Submit({"--rank", "2,900"}).message(), "--rank: is 900, beyond the layer");
  const std::string file =
      Write("job.json", R"({"fine_tune": {"method": {"lora": {"rank": 900}}}})");
  EXPECT_EQ(Submit({"--file", file}).message(),
            "fine_tune.method.lora.rank: is 900, beyond the layer");
  jobs_.refusal = violations.Explain(absl::NotFoundError(""));
  EXPECT_EQ(Submit({"--rank", "900"}).code(), absl::StatusCode::kNotFound);
}

TEST_F(SubmitCommandsTest, APathThatIsNoFileIsNamedBeforeAnythingIsUploaded) {
  EXPECT_EQ(Submit({"--validation", "./artcles.jsonl"}).message(),
            "--validation: there is no file ./artcles.jsonl");
  const std::string file = Write("job.json", R"({"fine_tune": {"base_model": "m",
      "method": {"lora": {}}, "data": {"train": "data/train.jsonl"}}})");
  EXPECT_EQ(Run(AddSubmitCommand, {"submit", "--file", file}).message(),
            "fine_tune.data.train: there is no file data/train.jsonl");
  EXPECT_TRUE(jobs_.created.empty());
}

constexpr char kPair[] = R"({"document": "d", "summary": "s"})";

TEST_F(SubmitCommandsTest, AFileIsUploadedOnceForAllJobsOfAStudy) {
  const std::string file = Write("articles.jsonl", kPair);
  ASSERT_TRUE(Submit(file, {"--rank", "2,4"}).ok());
  ASSERT_TRUE(Submit(file, {}).ok());
  ASSERT_EQ(uploads_.names.size(), 1u);
  EXPECT_THAT(errors_, Not(HasSubstr("uploaded")));
  ASSERT_EQ(jobs_.created.size(), 1u);
  EXPECT_EQ(jobs_.created[0].job().spec().fine_tune().data().train(), uploads_.names[0]);
  ASSERT_EQ(studies_.created.size(), 1u);
  EXPECT_EQ(studies_.created[0].study().spec_template().fine_tune().data().train(),
            uploads_.names[0]);
}

TEST_F(SubmitCommandsTest, NothingIsUploadedForAJobThatWouldBeRefused) {
  Violations violations;
  violations.Add("job.spec.fine_tune.base_model", "there is no model \"m\"", kReasonModelMissing);
  jobs_.beside_missing_data = violations.ToStatus();
  const std::string file = Write("articles.jsonl", kPair);
  const absl::Status status = Submit(file, {"--validation", "not-there"});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            "--validation: there is no data set not-there; "
            "--base-model: there is no model \"m\"");
  // Of a study, too, and where the server says no more than that.
  Violations taken;
  taken.Add("job.spec.fine_tune.output_name", "the adapter x is there already");
  jobs_.refusal = taken.Explain(absl::AlreadyExistsError(""));
  EXPECT_EQ(Submit(file, {"--rank", "2,4"}).message(),
            "--output-name: the adapter x is there already");
  EXPECT_TRUE(uploads_.names.empty());
  EXPECT_TRUE(jobs_.created.empty());
}

TEST_F(SubmitCommandsTest, AFileIsReadBeforeItIsUploaded) {
  const std::string file = Write("articles.jsonl", R"({"text": "d", "summary": "s"})");
  EXPECT_EQ(
      Submit(file, {}).message(),
      "--train: " + file + ": line 1: field \"document\" is missing; the row has: text, summary");
  EXPECT_TRUE(uploads_.names.empty());
  EXPECT_TRUE(Submit(file, {"--source-field", "text"}).ok());
  EXPECT_EQ(uploads_.names.size(), 1u);
}

TEST_F(SubmitCommandsTest, AFolderIsNoModelOfTheServer) {
  const std::string file = Write("job.json", R"({"fine_tune": {"base_model": "models/gpt2/",
      "init_from": "runs/lora/adapter", "method": {"lora": {}}, "data": {"train": "d"}}})");
  const absl::Status status = Run(AddSubmitCommand, {"submit", "--file", file});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "fine_tune.base_model: a job names what the server has, not the folder models/gpt2/; "
            "first: graft models add gpt2 models/gpt2/; "
            "fine_tune.init_from: a job names what the server has, not the folder "
            "runs/lora/adapter; first: graft adapters import runs/lora/adapter --name adapter "
            "--base-model gpt2");
  const absl::Status flag =
      Run(AddSubmitCommand, {"submit", "--base-model", "./m", "--method", "lora", "--train", "d"});
  EXPECT_THAT(std::string(flag.message()), HasSubstr("--base-model: a job names"));
}

}  // namespace
}  // namespace graft
