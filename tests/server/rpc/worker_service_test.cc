#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/formats/adapter_parts.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"
#include "tests/server/store/changes_heard.h"

namespace graft {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using worker::v1::Command;

class WorkerServiceTest : public ::testing::Test {
 protected:
  // Files of a real adapter of the tiny model, uploaded.
  std::vector<v1::Artifact> UploadAdapter(FakeWorker& worker) {
    AdapterParts parts;
    parts.lora = AdapterParts::Lora{.rank = 2};
    const Gpt2Config gpt2 = TinyConfig();
    std::vector<TensorInfo> tensors;
    for (int layer = 0; layer < 2; ++layer) {
      const std::string module = absl::StrCat("h.", layer, ".attn.c_attn");
      tensors.push_back({module + ".lora_A", DType::kF32, {2, 8}});
      tensors.push_back({module + ".lora_B", DType::kF32, {24, 2}});
    }
    std::vector<std::byte> buffer(4096, std::byte{1});
    const auto source =
        [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
      ASSIGN_OR_RETURN(const int64_t bytes, TensorSizeBytes(tensor.dtype, tensor.shape));
      return std::span<const std::byte>(buffer.data(), bytes);
    };
    AdapterWriteOptions options;
    options.base_model_name = "tiny";
    const std::string folder = server_.directory().Path("adapter");
    const auto paths = WriteAdapter(folder, gpt2, parts, tensors, source, options);
    EXPECT_TRUE(paths.ok()) << paths.status();
    std::vector<v1::Artifact> files;
    for (const std::string& path : *paths) {
      files.push_back(worker.UploadBlob(path, *ReadFile(JoinPath(folder, path), 1 << 20)));
    }
    return files;
  }

  static worker::v1::FinishAttemptRequest Succeeded(const std::vector<v1::Artifact>& output) {
    worker::v1::FinishAttemptRequest request;
    auto* succeeded = request.mutable_succeeded();
    for (const v1::Artifact& file : output) *succeeded->add_output() = file;
    succeeded->mutable_result()->set_best_step(2);
    succeeded->mutable_result()->set_trainable_parameters(128);
    (*succeeded->mutable_result()->mutable_metrics())["eval/loss"] = 1.5;
    succeeded->set_peft_snippet("from peft import PeftModel");
    return request;
  }

  TestServer server_;
  ChangesHeard changes_{server_.store()};
  FakeWorker worker_{server_};
};

TEST_F(WorkerServiceTest, TheWelcomeComesFirstAndWorkIsAnnounced) {
  const Command welcome = worker_.Connect();
  EXPECT_EQ(welcome.welcome().lease_duration().seconds(), 60);
  EXPECT_TRUE(DirectoryExists(welcome.welcome().blobs_directory()));
  EXPECT_EQ(welcome.welcome().default_threads(), 2);
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  EXPECT_TRUE(worker_.NextCommand(Command::kWorkAvailable).has_work_available());
}

TEST_F(WorkerServiceTest, ALeaseCarriesEverythingTheJobReads) {
  const auto job = server_.Create(LoraJob("my job"));
  const auto lease = worker_.Lease("r1");
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->job(), job->name());
  EXPECT_EQ(lease->attempt(), 1);
  EXPECT_EQ(lease->base_model_name(), "tiny");
  EXPECT_EQ(lease->display_name(), "my job");
  std::set<std::string> paths;
  for (const v1::Artifact& file : lease->base_model().files()) {
    paths.insert(file.path());
    EXPECT_TRUE(server_.blobs().Stat(file.sha256()).ok()) << file.path();
  }
  EXPECT_THAT(paths, IsSupersetOf({"config.json", "model.safetensors", "vocab.json"}));
  EXPECT_EQ(*server_.blobs().Get(lease->train_data().sha256(), 1 << 20), NewsRows(12));
  EXPECT_EQ(lease->train_data().path(), "data.jsonl");
}

TEST_F(WorkerServiceTest, AClaimGetsWhatItsWorkerCanDoAndAHandBackIsNoFailure) {
  worker_.Connect();
  v1::CreateJobRequest bf16 = LoraJob();
  bf16.mutable_job()->mutable_spec()->mutable_fine_tune()->mutable_training()->set_precision(
      v1::PRECISION_BF16);
  const auto job = server_.Create(bf16);
  ASSERT_TRUE(job.ok());
  worker::v1::LeaseJobRequest asks;
  asks.mutable_capabilities()->add_devices("cpu");
  asks.mutable_capabilities()->add_precisions("fp32");
  EXPECT_EQ(worker_.Lease("r1", asks)->job(), "");
  EXPECT_THAT(server_.Get(job->name())->state_reason(),
              HasSubstr("; no worker that is connected can take it; it needs bf16"));
  asks.mutable_capabilities()->add_precisions("bf16");
  const auto lease = worker_.Lease("r2", asks);
  ASSERT_EQ(lease->job(), job->name());
  worker::v1::FinishAttemptRequest end;
  end.mutable_returned()->mutable_reason()->set_message("the disk is full");
  end.mutable_returned()->set_worker_fault(true);
  EXPECT_EQ(*worker_.Finish(*lease, 0, end), v1::JOB_STATE_QUEUED);
  changes_.WaitForAll();
  EXPECT_THAT(server_.Get(job->name())->state_reason(),
              HasSubstr("handed back by worker w1: the disk is full; the workers that could take "
                        "it are set aside"));
  EXPECT_THAT(server_.registry().Text(), HasSubstr("graft_workers_set_aside 1"));
  EXPECT_THAT(server_.registry().Text(), HasSubstr("graft_job_requeues_total 0"));
}

// A worker fetches what is set: a field that was made by asking for it is a file without a hash.
TEST_F(WorkerServiceTest, ALeaseHasNoInputThatTheSpecDoesNotName) {
  v1::CreateJobRequest trains = LoraJob();
  trains.mutable_job()
      ->mutable_spec()
      ->mutable_fine_tune()
      ->mutable_data()
      ->set_validation_fraction(0.25);
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  ASSERT_TRUE(server_.Create(trains).ok());
  for (const char* request : {"without validation", "held out"}) {
    const auto lease = worker_.Lease(request);
    ASSERT_TRUE(lease.ok() && !lease->job().empty()) << request;
    EXPECT_TRUE(lease->has_train_data()) << request;
    EXPECT_FALSE(lease->has_validation_data()) << request;
    EXPECT_FALSE(lease->has_adapter()) << request;
    EXPECT_FALSE(lease->has_checkpoint()) << request;
  }
}

TEST_F(WorkerServiceTest, ALeaseOfAnEvaluationHasNoTrainingData) {
  v1::CreateJobRequest request;
  v1::EvaluateSpec& spec = *request.mutable_job()->mutable_spec()->mutable_evaluate();
  spec.set_base_model("tiny");
  spec.mutable_data()->set_validation("news");
  ASSERT_TRUE(server_.Create(request).ok());
  const auto lease = worker_.Lease("r1");
  ASSERT_TRUE(lease.ok() && !lease->job().empty());
  EXPECT_FALSE(lease->has_train_data());
  EXPECT_EQ(lease->validation_data().path(), "data.jsonl");
}

TEST_F(WorkerServiceTest, TheSameRequestIdGetsTheSameLease) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto first = worker_.Lease("r1");
  EXPECT_EQ(worker_.Lease("r1")->job(), first->job());
  const auto second = worker_.Lease("r2");
  EXPECT_NE(second->job(), first->job());
  EXPECT_EQ(worker_.Lease("r3")->job(), "") << "there is nothing left";
}

TEST_F(WorkerServiceTest, TenJobsRunByPriorityThenInOrderOfSubmission) {
  std::vector<std::string> normal, urgent;
  for (int i = 0; i < 10; ++i) {
    v1::CreateJobRequest request = LoraJob();
    request.mutable_job()->set_priority(i % 3 == 0 ? 5 : 0);
    (i % 3 == 0 ? urgent : normal).push_back(server_.Create(request)->name());
  }
  std::vector<std::string> expected = urgent;
  expected.insert(expected.end(), normal.begin(), normal.end());
  std::vector<std::string> leased;
  for (int i = 0; i < 10; ++i) leased.push_back(worker_.Lease(absl::StrCat("r", i))->job());
  EXPECT_EQ(leased, expected);
}

TEST_F(WorkerServiceTest, JobsAreLeasedAndLeasesRenewedWhileEveryOtherThreadIsBusy) {
  worker_.Connect();
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  Mutex mutex;
  CondVar changed;
  bool over = false;
  int busy = 0;
  ServiceContext& context = server_.rpc().context();
  for (RpcRuntime* runtime : {&context.runtime, &context.worker_runtime}) {
    for (const Lane lane : {Lane::kShort, Lane::kBulk, Lane::kLong}) {
      for (int i = 0; i < kShortThreads; ++i) {
        ++busy;
        runtime->executor(lane).Schedule([&] {
          MutexLock lock(mutex);
          while (!over) changed.Wait(mutex);
          --busy;
          changed.NotifyAll();
        });
      }
    }
  }
  const auto lease = worker_.Lease("r1");
  const auto heartbeat = worker_.Heartbeat({lease.value_or(worker::v1::Lease())}, 0);
  {
    MutexLock lock(mutex);
    over = true;
    changed.NotifyAll();
    while (busy > 0) changed.Wait(mutex);
  }
  ASSERT_TRUE(lease.ok()) << lease.status();
  ASSERT_TRUE(heartbeat.ok()) << heartbeat.status();
  EXPECT_TRUE(heartbeat->renewals(0).held());
}

TEST_F(WorkerServiceTest, ACancelReachesTheWorkerAndEndsTheJob) {
  worker_.Connect();
  const std::string job = server_.Create(LoraJob())->name();
  const auto lease = worker_.Lease("r1");
  EXPECT_EQ(server_.Cancel(job)->state(), v1::JOB_STATE_CANCELLING);
  const Command command = worker_.NextCommand(Command::kCancelJob);
  EXPECT_EQ(command.cancel_job().job(), job);
  EXPECT_EQ(command.cancel_job().lease_epoch(), lease->lease_epoch());
  // The heartbeat repeats what the stream may have lost.
  const auto heartbeat = worker_.Heartbeat({*lease}, 0);
  ASSERT_EQ(heartbeat->renewals_size(), 1);
  EXPECT_TRUE(heartbeat->renewals(0).held());
  EXPECT_TRUE(heartbeat->renewals(0).cancel());
  worker::v1::FinishAttemptRequest end;
  end.mutable_cancelled();
  EXPECT_EQ(*worker_.Finish(*lease, 0, end), v1::JOB_STATE_CANCELLED);
}

TEST_F(WorkerServiceTest, EverythingUnderAStaleLeaseIsRefused) {
  worker_.Connect();
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto stale = worker_.Lease("r1");
  // The worker starts anew: what its predecessor held is free again.
  FakeWorker successor(server_, "w1", "i2");
  successor.Connect();
  const auto fresh = successor.LeaseSoon("r2");
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  ASSERT_EQ(fresh->job(), stale->job());
  EXPECT_GT(fresh->lease_epoch(), stale->lease_epoch());
  EXPECT_EQ(fresh->attempt(), 2);

  EXPECT_EQ(ReasonOf(worker_.Report(*stale, 1, {StepEvent(1, 1)}).status()), kReasonStaleLease);
  worker::v1::FinishAttemptRequest end;
  end.mutable_cancelled();
  const auto finished = worker_.Finish(*stale, 0, end);
  EXPECT_EQ(finished.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(finished.status()), kReasonStaleLease);
  const auto succeeded = worker_.Finish(*stale, 0, Succeeded(UploadAdapter(worker_)));
  EXPECT_EQ(ReasonOf(succeeded.status()), kReasonStaleLease);
  const auto prepared = ListDirectory(server_.directory().Path("artifacts/adapters/.by-uid"));
  EXPECT_TRUE(!prepared.ok() || prepared->empty()) << "nothing keeps what it uploaded";
  worker::v1::CommitCheckpointRequest checkpoint;
  *checkpoint.mutable_worker() = worker_.identity();
  checkpoint.set_job(stale->job());
  checkpoint.set_lease_epoch(stale->lease_epoch());
  checkpoint.set_step(1);
  *checkpoint.add_files() = worker_.UploadBlob("state", "bytes");
  google::protobuf::Empty empty;
  const auto context = CallContext();
  const absl::Status refused =
      FromGrpcStatus(worker_.stub().CommitCheckpoint(context.get(), checkpoint, &empty));
  EXPECT_EQ(ReasonOf(refused), kReasonStaleLease);
  const auto heartbeat = worker_.Heartbeat({*stale}, 0);
  EXPECT_FALSE(heartbeat->renewals(0).held());
}

TEST_F(WorkerServiceTest, ARepeatedBatchIsAcknowledgedAndDropped) {
  const std::string job = server_.Create(LoraJob())->name();
  const auto lease = worker_.Lease("r1");
  ASSERT_EQ(*worker_.Report(*lease, 1, {StepEvent(1, 1)}), 1);
  ASSERT_EQ(*worker_.Report(*lease, 1, {StepEvent(1, 1)}), 1);
  EXPECT_EQ(*worker_.Report(*lease, 3, {StepEvent(3, 1)}), 1) << "2 is missing";
  EXPECT_EQ(server_.Get(job)->last_sequence(), 3) << "queued, running, step 1";
}

TEST_F(WorkerServiceTest, ASucceededJobPublishesAnAdapterWithTheFilesOfItsLog) {
  v1::CreateJobRequest request = LoraJob();
  request.mutable_job()->mutable_spec()->mutable_fine_tune()->set_output_name("short-news");
  const std::string job = server_.Create(request)->name();
  const auto lease = worker_.Lease("r1");
  ASSERT_TRUE(worker_.Report(*lease, 1, {StepEvent(1, 2.5), StepEvent(2, 2.0)}).ok());
  const auto state = worker_.Finish(*lease, 1, Succeeded(UploadAdapter(worker_)));
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

class PublishedAdapterTest : public WorkerServiceTest {
 protected:
  // Trains "short-news" with a template and lengths of its own; graft.json says so too.
  void Train() {
    v1::CreateJobRequest request = LoraJob();
    v1::FineTuneSpec* spec = request.mutable_job()->mutable_spec()->mutable_fine_tune();
    spec->set_output_name("short-news");
    spec->mutable_data()->set_prompt_template("{source} =>");
    ASSERT_TRUE(server_.Create(request).ok());
    const auto lease = worker_.Lease("r1");
    std::vector<v1::Artifact> files = UploadAdapter(worker_);
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

TEST_F(WorkerServiceTest, LostDirectoriesAreMadeAgainAndUnknownOnesRemoved) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto lease = worker_.Lease("r1");
  ASSERT_EQ(*worker_.Finish(*lease, 0, Succeeded(UploadAdapter(worker_))), v1::JOB_STATE_SUCCEEDED);
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

TEST_F(WorkerServiceTest, ABrokenAdapterFailsTheJobAndPublishesNothing) {
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

TEST_F(WorkerServiceTest, WhatWasNotUploadedCannotBePublished) {
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

TEST_F(WorkerServiceTest, HostilePathsOfFilesFailTheJob) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto lease = worker_.Lease("r1");
  const v1::Artifact file = worker_.UploadBlob("../../escaped", "x");
  EXPECT_EQ(*worker_.Finish(*lease, 0, Succeeded({file})), v1::JOB_STATE_FAILED);
  EXPECT_FALSE(FileExists(server_.directory().Path("escaped")));
}

TEST_F(WorkerServiceTest, AnEvaluationLeavesItsFilesToDownload) {
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

TEST_F(WorkerServiceTest, AnExpiredLeaseRequeuesTheJobFromItsCheckpoint) {
  TestServer server({.lease_duration = absl::Seconds(1)});
  FakeWorker worker(server);
  const std::string job = server.Create(LoraJob())->name();
  const auto first = worker.Lease("r1");
  worker::v1::CommitCheckpointRequest checkpoint;
  *checkpoint.mutable_worker() = worker.identity();
  checkpoint.set_job(job);
  checkpoint.set_lease_epoch(first->lease_epoch());
  checkpoint.set_step(7);
  *checkpoint.add_files() = worker.UploadBlob("state.safetensors", "state");
  google::protobuf::Empty empty;
  const auto context = CallContext();
  const absl::Status committed =
      FromGrpcStatus(worker.stub().CommitCheckpoint(context.get(), checkpoint, &empty));
  ASSERT_TRUE(committed.ok()) << committed;
  // Nobody renews: the server takes it back by itself.
  for (int64_t head = 0; server.Get(job)->state() != v1::JOB_STATE_QUEUED;) {
    head = *server.store().WaitForEvents(job, head, absl::Seconds(10));
  }
  const auto second = worker.LeaseSoon("r2");
  ASSERT_EQ(second->job(), job);
  EXPECT_EQ(second->checkpoint_step(), 7);
  // The worker keeps the set in a folder of this name.
  EXPECT_TRUE(IsSha256Hex(second->checkpoint().sha256())) << second->checkpoint().sha256();
  EXPECT_EQ(second->checkpoint().files(0).path(), "state.safetensors");
  EXPECT_GT(second->lease_epoch(), first->lease_epoch());
}

TEST_F(WorkerServiceTest, BlobsComeAndGoByTheirHash) {
  const v1::Artifact blob = worker_.UploadBlob("x", std::string(300'000, 'b'));
  worker::v1::HasBlobsRequest has;
  has.add_sha256(blob.sha256());
  has.add_sha256(Sha256Hex("unknown"));
  worker::v1::HasBlobsResponse missing;
  const auto has_context = CallContext();
  ASSERT_TRUE(worker_.stub().HasBlobs(has_context.get(), has, &missing).ok());
  ASSERT_EQ(missing.missing_size(), 1);
  EXPECT_EQ(missing.missing(0), Sha256Hex("unknown"));

  worker::v1::FetchBlobRequest fetch;
  fetch.set_sha256(blob.sha256());
  fetch.set_offset_bytes(299'990);
  const auto context = CallContext();
  const auto reader = worker_.stub().FetchBlob(context.get(), fetch);
  worker::v1::BlobChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_EQ(chunk.size_bytes(), 300'000);
  EXPECT_EQ(chunk.data(), "bbbbbbbbbb");
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(WorkerServiceTest, ABlobThatRottedIsMissingUntilItIsUploadedAgain) {
  const v1::Artifact blob = worker_.UploadBlob("x", "truth");
  const std::string path = *server_.blobs().PathOf(blob.sha256());
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  const UniqueFd fd = *OpenFile(path, O_RDWR);
  ASSERT_EQ(::pwrite(fd.get(), "T", 1, 0), 1);
  const auto fetched = [&] {
    worker::v1::FetchBlobRequest fetch;
    fetch.set_sha256(blob.sha256());
    const auto context = CallContext();
    const auto reader = worker_.stub().FetchBlob(context.get(), fetch);
    worker::v1::BlobChunk chunk;
    while (reader->Read(&chunk)) EXPECT_EQ(chunk.data(), "truth");
    return FromGrpcStatus(reader->Finish());
  };
  const absl::Status refused = fetched();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(blob.sha256()));
  worker::v1::HasBlobsRequest has;
  has.add_sha256(blob.sha256());
  worker::v1::HasBlobsResponse missing;
  const auto context = CallContext();
  ASSERT_TRUE(worker_.stub().HasBlobs(context.get(), has, &missing).ok());
  EXPECT_EQ(missing.missing_size(), 1);
  worker_.UploadBlob("x", "truth");
  EXPECT_TRUE(fetched().ok());
}

TEST_F(WorkerServiceTest, BytesThatAreNotWhatTheirHashSaysAreRefused) {
  v1::Artifact lie;
  lie.set_sha256(Sha256Hex("truth"));
  lie.set_size_bytes(5);
  EXPECT_EQ(worker_.UploadBlobAs(lie, "false").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(worker_.UploadBlobAs(lie, "much longer").code(), absl::StatusCode::kInvalidArgument);
  lie.set_sha256("../../../escaped");
  EXPECT_EQ(worker_.UploadBlobAs(lie, "truth").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server_.blobs().Stat(Sha256Hex("truth")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(WorkerServiceTest, BadIdentitiesAreRefused) {
  FakeWorker nameless(server_, "../w", "i");
  EXPECT_EQ(nameless.Connect().command_case(), Command::COMMAND_NOT_SET);
  nameless.Disconnect();
  EXPECT_EQ(nameless.end().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace graft
