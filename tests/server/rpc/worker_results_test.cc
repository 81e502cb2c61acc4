// What becomes of what a worker's job has made.

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/worker_service_fixture.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

class WorkerResultsTest : public WorkerServiceFixture {};

TEST_F(WorkerResultsTest, ASucceededJobPublishesAnAdapterWithTheFilesOfItsLog) {
  v1::CreateJobRequest request = LoraJob();
  request.mutable_job()->mutable_spec()->mutable_fine_tune()->set_output_name("short-news");
  const std::string job = server_.Create(request)->name();
  const auto lease = worker_.Lease("r1");
  ASSERT_TRUE(worker_.Report(*lease, 1, {StepEvent(1, 2.5), StepEvent(2, 2.0)}).ok());
  const auto state = worker_.Finish(*lease, 1, Succeeded(UploadAdapter()));
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(*state, v1::JOB_STATE_SUCCEEDED);

  v1::GetAdapterRequest get;
  get.set_name("short-news");
  v1::Adapter adapter;
  const auto context = CallContext();
  ASSERT_TRUE(server_.adapters().GetAdapter(context.get(), get, &adapter).ok());
  EXPECT_EQ(adapter.job(), job);
  EXPECT_EQ(adapter.base_model(), "tiny");
  EXPECT_EQ(adapter.method().lora().rank(), 2);
  EXPECT_EQ(adapter.peft_snippet(), "from peft import PeftModel");
  EXPECT_EQ(server_.Get(job)->result().adapter(), "short-news");
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors", "README.md",
                           "metrics.jsonl", "trainer_state.json"}) {
    EXPECT_TRUE(FileExists(JoinPath(adapter.directory(), file))) << file;
  }
  const auto metrics = ReadFile(JoinPath(adapter.directory(), "metrics.jsonl"), 1 << 20);
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_THAT(*metrics, HasSubstr("\"train/loss\""));
  EXPECT_EQ(std::count(metrics->begin(), metrics->end(), '\n'), 2);
  // The same call again gets the same answer.
  EXPECT_EQ(*worker_.Finish(*lease, 1, Succeeded({})), v1::JOB_STATE_SUCCEEDED);
}

class PublishedAdapterTest : public WorkerServiceFixture {
 protected:
  // Trains "short-news" with a template and lengths of its own; graft.json says so too.
  void Train() {
    v1::CreateJobRequest request = LoraJob();
    v1::FineTuneSpec* spec = request.mutable_job()->mutable_spec()->mutable_fine_tune();
    spec->set_output_name("short-news");
    spec->mutable_data()->set_prompt_template("{source} =>");
    ASSERT_TRUE(server_.Create(request).ok());
    const auto lease = worker_.Lease("r1");
    std::vector<v1::Artifact> files = UploadAdapter();
    files.push_back(worker_.UploadBlob("graft.json", R"({"resolved_spec": {"fine_tune": {"data":
        {"prompt_template": "{source} =>", "max_source_tokens": 24, "max_target_tokens": 16}}}})"));
    ASSERT_EQ(*worker_.Finish(*lease, 0, Succeeded(files)), v1::JOB_STATE_SUCCEEDED);
  }
  static v1::CreateJobRequest Evaluation() {
    v1::CreateJobRequest request;
    v1::EvaluateSpec* spec = request.mutable_job()->mutable_spec()->mutable_evaluate();
    spec->set_adapter("short-news");
    spec->mutable_data()->set_validation("news");
    return request;
  }
  void ExpectAsTrained(const absl::StatusOr<v1::Job>& job) {
    ASSERT_TRUE(job.ok()) << job.status();
    const v1::DataSpec& data = job->resolved_spec().evaluate().data();
    EXPECT_EQ(data.prompt_template(), "{source} =>");
    EXPECT_EQ(data.max_source_tokens(), 24);
    EXPECT_EQ(data.max_target_tokens(), 16);
    EXPECT_EQ(job->warnings_size(), 0);
  }
};

TEST_F(PublishedAdapterTest, APublishedAdapterIsEvaluatedAsItWasTrained) {
  Train();
  EXPECT_EQ(server_.store().GetAdapter("short-news")->trained_with().max_source_tokens(), 24);
  ExpectAsTrained(server_.Create(Evaluation()));
}

TEST_F(PublishedAdapterTest, WhatIsSetOtherwiseIsAWarningOfTheJob) {
  Train();
  v1::CreateJobRequest request = Evaluation();
  v1::DataSpec& data = *request.mutable_job()->mutable_spec()->mutable_evaluate()->mutable_data();
  data.set_max_source_tokens(20);
  request.set_validate_only(true);
  const auto checked = server_.Create(request);
  ASSERT_TRUE(checked.ok()) << checked.status();
  ASSERT_EQ(checked->warnings_size(), 1);
  request.set_validate_only(false);
  const auto job = server_.Create(request);
  ASSERT_TRUE(job.ok()) << job.status();
  ASSERT_EQ(job->warnings_size(), 1);
  EXPECT_EQ(job->warnings(0).code(), "NOT_AS_TRAINED");
  EXPECT_THAT(job->warnings(0).text(), HasSubstr("max_source_tokens is 20 instead of 24"));
  EXPECT_EQ(server_.Get(job->name())->warnings_size(), 1);
  const auto events = server_.store().ReadEvents(job->name(), 1, 10);
  ASSERT_EQ(events->size(), 1u);
  EXPECT_EQ(events->at(0).warning().text(), job->warnings(0).text());
}

// In a store of the build before there is only its graft.json to ask.
TEST_F(PublishedAdapterTest, AnAdapterOfAnEarlierBuildIsEvaluatedAsItWasTrained) {
  Train();
  v1::Adapter old = *server_.store().GetAdapter("short-news");
  ASSERT_TRUE(server_.store().DeleteAdapter("short-news").ok());
  old.clear_trained_with();
  ASSERT_TRUE(server_.store().InsertAdapter(old).ok());
  ExpectAsTrained(server_.Create(Evaluation()));
}

TEST_F(WorkerResultsTest, LostDirectoriesAreMadeAgainAndUnknownOnesRemoved) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto lease = worker_.Lease("r1");
  ASSERT_EQ(*worker_.Finish(*lease, 0, Succeeded(UploadAdapter())), v1::JOB_STATE_SUCCEEDED);
  const std::string name = server_.Get(lease->job())->result().adapter();
  const std::string shown = server_.publisher().AdapterDirectory(name);
  ASSERT_TRUE(FileExists(JoinPath(shown, "adapter_config.json")));
  ASSERT_TRUE(RemoveFile(shown).ok());
  v1::Adapter unknown = *server_.store().GetAdapter(name);
  unknown.set_name("unknown");
  ASSERT_TRUE(server_.publisher().Show(unknown).ok());
  ASSERT_TRUE(DirectoryExists(server_.publisher().AdapterDirectory("unknown")));
  server_.publisher().Refresh();
  EXPECT_TRUE(FileExists(JoinPath(shown, "adapter_config.json")));
  EXPECT_FALSE(DirectoryExists(server_.publisher().AdapterDirectory("unknown")));
}

TEST_F(WorkerResultsTest, ABrokenAdapterFailsTheJobAndPublishesNothing) {
  v1::CreateJobRequest request = LoraJob();
  request.mutable_job()->mutable_spec()->mutable_fine_tune()->set_output_name("broken");
  const std::string job = server_.Create(request)->name();
  const auto lease = worker_.Lease("r1");
  const std::vector<v1::Artifact> files = {
      worker_.UploadBlob("adapter_config.json", "{}"),
      worker_.UploadBlob("adapter_model.safetensors", "no safetensors")};
  EXPECT_EQ(*worker_.Finish(*lease, 0, Succeeded(files)), v1::JOB_STATE_FAILED);
  const std::string error = server_.Get(job)->error().message();
  EXPECT_THAT(error, HasSubstr("the engine's output is broken: adapter_model.safetensors: "));
  EXPECT_THAT(error, ::testing::Not(HasSubstr("blobs"))) << "where it is kept says nothing";
  EXPECT_EQ(server_.store().GetAdapter("broken").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(DirectoryExists(server_.publisher().AdapterDirectory("broken")));
}

TEST_F(WorkerResultsTest, WhatWasNotUploadedCannotBePublished) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto lease = worker_.Lease("r1");
  v1::Artifact file;
  file.set_path("adapter_model.safetensors");
  file.set_size_bytes(5);
  file.set_sha256(Sha256Hex("never"));
  const auto state = worker_.Finish(*lease, 0, Succeeded({file}));
  EXPECT_EQ(state.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(state.status().message()), HasSubstr("adapter_model.safetensors"));
}

TEST_F(WorkerResultsTest, HostilePathsOfFilesFailTheJob) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto lease = worker_.Lease("r1");
  const v1::Artifact file = worker_.UploadBlob("../../escaped", "x");
  EXPECT_EQ(*worker_.Finish(*lease, 0, Succeeded({file})), v1::JOB_STATE_FAILED);
  EXPECT_FALSE(FileExists(server_.directory().Path("escaped")));
}

TEST_F(WorkerResultsTest, AnEvaluationLeavesItsFilesToDownload) {
  v1::CreateJobRequest request;
  v1::EvaluateSpec* spec = request.mutable_job()->mutable_spec()->mutable_evaluate();
  spec->set_base_model("tiny");
  spec->mutable_data()->set_validation("news");
  spec->mutable_data()->set_max_source_tokens(24);
  spec->mutable_data()->set_max_target_tokens(16);
  spec->mutable_evaluation()->set_max_new_tokens(8);
  const auto job = server_.Create(request);
  ASSERT_TRUE(job.ok()) << job.status();
  const auto lease = worker_.Lease("r1");
  EXPECT_EQ(lease->validation_data().path(), "data.jsonl");
  EXPECT_FALSE(lease->has_train_data());
  worker::v1::FinishAttemptRequest end;
  *end.mutable_succeeded()->add_artifacts() =
      worker_.UploadBlob("predictions.jsonl", std::string(300'000, 'p'));
  *end.mutable_succeeded()->add_artifacts() = worker_.UploadBlob("results.json", "{}");
  ASSERT_EQ(*worker_.Finish(*lease, 0, end), v1::JOB_STATE_SUCCEEDED);
  EXPECT_TRUE(FileExists(server_.directory().Path(
      absl::StrCat("artifacts/evaluations/", job->name().substr(5), "/results.json"))));

  v1::ListJobArtifactsRequest list;
  list.set_name(job->name());
  v1::ListJobArtifactsResponse listed;
  const auto list_context = CallContext();
  ASSERT_TRUE(server_.jobs().ListJobArtifacts(list_context.get(), list, &listed).ok());
  EXPECT_EQ(listed.artifacts_size(), 2);

  v1::DownloadJobArtifactRequest download;
  download.set_name(job->name());
  download.set_path("predictions.jsonl");
  download.set_offset_bytes(100'000);
  const auto context = CallContext();
  const auto reader = server_.jobs().DownloadJobArtifact(context.get(), download);
  v1::FileChunk chunk;
  std::string bytes;
  while (reader->Read(&chunk)) bytes += chunk.data();
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_EQ(bytes, std::string(200'000, 'p'));

  for (const auto& [path, offset, code] :
       {std::tuple{"predictions.jsonl", 300'001, absl::StatusCode::kOutOfRange},
        std::tuple{"predictions.jsonl", -1, absl::StatusCode::kInvalidArgument},
        std::tuple{"../results.json", 0, absl::StatusCode::kNotFound}}) {
    download.set_path(path);
    download.set_offset_bytes(offset);
    const auto bad_context = CallContext();
    const auto bad = server_.jobs().DownloadJobArtifact(bad_context.get(), download);
    EXPECT_FALSE(bad->Read(&chunk));
    EXPECT_EQ(FromGrpcStatus(bad->Finish()).code(), code) << path << " " << offset;
  }
}

}  // namespace
}  // namespace graft
