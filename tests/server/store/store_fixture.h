#pragma once

// A store of either kind with a model, two data sets and a clock that stands still; and what tests
// need to put jobs into it. Every case of the conformance list runs on each kind.

#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/errors/status_details.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/job_store.h"
#include "tests/fakes/temp_dir.h"

namespace graft {

enum class StoreKind { kMemory, kSqlite };

inline std::string NameOfKind(const ::testing::TestParamInfo<StoreKind>& info) {
  return info.param == StoreKind::kMemory ? "Memory" : "Sqlite";
}

#define ASSERT_OK(expression) ASSERT_TRUE((expression).ok()) << StatusText(expression)
#define EXPECT_OK(expression) EXPECT_TRUE((expression).ok()) << StatusText(expression)

inline std::string StatusText(const absl::Status& status) { return status.ToString(); }
template <typename T>
std::string StatusText(const absl::StatusOr<T>& value) {
  return value.status().ToString();
}

class StoreFixture {
 public:
  explicit StoreFixture(StoreKind kind, const std::string& directory = ::testing::TempDir())
      : kind_(kind) {
    std::string path = JoinPath(directory, "graft-store-XXXXXX");
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
    options_.clock = &clock_;
    options_.new_job_id = [this] { return absl::StrCat("j", ++ids_); };
    options_.lease_duration = absl::Seconds(60);
    Reopen();
    Fill(*store_);
  }
  ~StoreFixture() {
    store_.reset();
    EXPECT_TRUE(RemoveTree(root_).ok());
  }

  std::string uri() const {
    return kind_ == StoreKind::kMemory ? "memory:" : "sqlite:" + JoinPath(root_, "graft.db");
  }
  // Closes the store (a memory store forgets all) and opens it with options() as they are now.
  void Reopen() {
    store_.reset();
    auto store = OpenJobStore(uri(), options_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  JobStore& store() { return *store_; }
  FakeClock& clock() { return clock_; }
  StoreOptions& options() { return options_; }
  const std::string& root() const { return root_; }

  static void Fill(JobStore& store) {
    v1::Model model;
    model.set_name("gpt2");
    model.set_sha256(std::string(64, 'a'));
    *model.add_files() = File("config.json", '1');
    ASSERT_TRUE(store.InsertModel(model).ok());
    for (const char* name : {"train", "valid"}) {
      v1::Dataset dataset;
      dataset.set_name(name);
      dataset.set_sha256(std::string(64, name[0] == 't' ? 'b' : 'c'));
      dataset.set_num_rows(10);
      ASSERT_TRUE(store.InsertDataset(dataset).ok());
    }
  }

  static v1::Artifact File(const std::string& path, char digit) {
    v1::Artifact file;
    file.set_path(path);
    file.set_size_bytes(100);
    file.set_sha256(std::string(64, digit));
    return file;
  }

  // A resolved LoRA job; what a test is about it changes.
  static NewJob LoraJob(int priority = 0) {
    NewJob new_job;
    new_job.job.set_priority(priority);
    v1::FineTuneSpec& spec = *new_job.job.mutable_resolved_spec()->mutable_fine_tune();
    spec.set_base_model("gpt2");
    spec.set_base_model_sha256(std::string(64, 'a'));
    spec.mutable_data()->set_train("train");
    spec.mutable_data()->set_train_sha256(std::string(64, 'b'));
    spec.mutable_data()->set_validation("valid");
    spec.mutable_data()->set_validation_sha256(std::string(64, 'c'));
    spec.mutable_method()->mutable_lora()->set_rank(8);
    spec.mutable_training()->mutable_checkpoint()->set_keep_last(2);
    *new_job.job.mutable_spec() = new_job.job.resolved_spec();
    return new_job;
  }
  static v1::Adapter NewAdapter(const std::string& name) {
    v1::Adapter adapter;
    adapter.set_name(name);
    adapter.set_base_model("gpt2");
    adapter.set_base_model_sha256(std::string(64, 'a'));
    adapter.set_sha256(std::string(64, 'd'));
    *adapter.add_files() = File("adapter_model.safetensors", 'e');
    return adapter;
  }

  v1::Job Submit(int priority = 0) {
    const auto job = store_->InsertJob(LoraJob(priority));
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : v1::Job();
  }
  v1::Job Get(const std::string& name) {
    const auto job = store_->GetJob(name);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : v1::Job();
  }
  JobNeeds Needs(const std::string& name) {
    const auto job = store_->GetJobWithNeeds(name);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? job->needs : JobNeeds();
  }
  // Claims the first job of the queue for a worker.
  absl::StatusOr<Claim> ClaimNext(const WorkerRef& worker, const std::string& request_id = "") {
    const auto queued = store_->QueuedJobs(1);
    if (!queued.ok()) return queued.status();
    if (queued->empty()) return absl::NotFoundError("the queue is empty");
    return store_->ClaimJob({(*queued)[0].name, (*queued)[0].version, worker, request_id});
  }
  LeaseRef LeaseOf(const Claim& claim, const WorkerRef& worker) {
    return {claim.job.name(), claim.lease_epoch, worker};
  }
  // Submits a job and claims it; the only one in the queue.
  LeaseRef Start(const WorkerRef& worker) {
    Submit();
    const auto claim = ClaimNext(worker);
    EXPECT_TRUE(claim.ok()) << claim.status();
    return claim.ok() ? LeaseOf(*claim, worker) : LeaseRef();
  }
  std::vector<v1::JobEvent> Events(const std::string& job, int64_t after = 0) {
    const auto events = store_->ReadEvents(job, after, 1000);
    EXPECT_TRUE(events.ok()) << events.status();
    return events.ok() ? *events : std::vector<v1::JobEvent>();
  }

  static v1::JobEvent LossEvent(int64_t step, double loss) {
    v1::JobEvent event;
    event.mutable_metrics()->set_step(step);
    (*event.mutable_metrics()->mutable_values())["train/loss"] = loss;
    return event;
  }
  static EventBatch Batch(int64_t number, std::vector<v1::JobEvent> events) {
    EventBatch batch;
    batch.number = number;
    batch.events = std::move(events);
    return batch;
  }
  static AttemptSucceeded Success() {
    AttemptSucceeded outcome;
    outcome.result.set_best_step(7);
    outcome.result.set_trainable_parameters(123);
    (*outcome.result.mutable_metrics())["eval/loss"] = 0.5;
    outcome.adapter.emplace().set_sha256(std::string(64, 'f'));
    *outcome.adapter->add_files() = File("adapter_model.safetensors", '7');
    outcome.artifacts = {File("predictions.jsonl", '8')};
    return outcome;
  }
  static AttemptFailed Failure(v1::FailureClass failure_class, const std::string& message) {
    AttemptFailed outcome;
    outcome.error.set_code(13);
    outcome.error.set_message(message);
    outcome.failure_class = failure_class;
    return outcome;
  }

 private:
  const StoreKind kind_;
  FakeClock clock_;
  StoreOptions options_;
  int ids_ = 0;
  std::string root_;
  std::unique_ptr<JobStore> store_;
};

const WorkerRef kWorker = {"w-1", "i-1"};
const WorkerRef kOtherWorker = {"w-2", "i-2"};

// Base of the conformance cases.
class StoreTest : public ::testing::TestWithParam<StoreKind> {
 protected:
  JobStore& store() { return fixture_.store(); }
  StoreFixture fixture_{GetParam(), FastDirectory()};
};

#define INSTANTIATE_ON_EVERY_STORE(suite) \
  INSTANTIATE_TEST_SUITE_P(Stores, suite, \
                           ::testing::Values(StoreKind::kMemory, StoreKind::kSqlite), NameOfKind)

}  // namespace graft
