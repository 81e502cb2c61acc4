#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "google/protobuf/unknown_field_set.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::vector<std::string> FieldsOf(const absl::Status& status) {
  std::vector<std::string> fields;
  for (const auto& violation : FieldViolationsOf(status)) fields.push_back(violation.field());
  return fields;
}

std::vector<std::string> NamesOf(const v1::ListJobsResponse& response) {
  std::vector<std::string> names;
  for (const v1::Job& job : response.jobs()) names.push_back(job.name());
  return names;
}

class JobServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::ListJobsResponse> List(const v1::ListJobsRequest& request) {
    v1::ListJobsResponse response;
    const auto context = CallContext();
    const absl::Status status =
        FromGrpcStatus(server_.jobs().ListJobs(context.get(), request, &response));
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<std::vector<std::string>> Filter(const std::string& filter) {
    v1::ListJobsRequest request;
    request.set_filter(filter);
    const auto response = List(request);
    if (!response.ok()) return response.status();
    return NamesOf(*response);
  }

  absl::Status Delete(const std::string& name) {
    v1::DeleteJobRequest request;
    request.set_name(name);
    google::protobuf::Empty empty;
    const auto context = CallContext();
    return FromGrpcStatus(server_.jobs().DeleteJob(context.get(), request, &empty));
  }

  TestServer server_;
};

// Else a worker could be told more than it can receive.
TEST_F(JobServiceTest, WhatIsNotKnownHereIsNotKept) {
  v1::CreateJobRequest request = LoraJob();
  v1::JobSpec* const spec = request.mutable_job()->mutable_spec();
  spec->GetReflection()->MutableUnknownFields(spec)->AddLengthDelimited(9999,
                                                                        std::string(3 << 20, 'x'));
  const auto job = server_.Create(request);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_LT(job->ByteSizeLong(), 10'000u);
  EXPECT_LT(server_.Get(job->name())->ByteSizeLong(), 10'000u);
}

TEST_F(JobServiceTest, ACreatedJobIsQueuedAndResolved) {
  const auto job = server_.Create(LoraJob());
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->name(), ::testing::StartsWith("jobs/"));
  EXPECT_EQ(job->state(), v1::JOB_STATE_QUEUED);
  const v1::FineTuneSpec& resolved = job->resolved_spec().fine_tune();
  EXPECT_EQ(resolved.training().threads(), 2);
  EXPECT_EQ(resolved.training().epochs(), 10);
  EXPECT_EQ(resolved.base_model_sha256().size(), 64u);
  EXPECT_EQ(resolved.data().train_sha256().size(), 64u);
  const auto read = server_.Get(job->name());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->queue_position(), 1);
  EXPECT_EQ(read->display_name(), "a job");
}

TEST_F(JobServiceTest, ValidateOnlyStoresNothing) {
  v1::CreateJobRequest request = LoraJob();
  request.set_validate_only(true);
  const auto job = server_.Create(request);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->name(), "");
  EXPECT_EQ(job->resolved_spec().fine_tune().training().batch_size(), 8);
  EXPECT_EQ(List({})->jobs_size(), 0);
}

TEST_F(JobServiceTest, ValidateOnlyRefusesATakenOutputName) {
  v1::CreateJobRequest request = LoraJob();
  request.mutable_job()->mutable_spec()->mutable_fine_tune()->set_output_name("mine");
  ASSERT_TRUE(server_.Create(request).ok());
  request.set_validate_only(true);
  EXPECT_EQ(ReasonOf(server_.Create(request).status()), kReasonNameTaken);
}

// Whoever repeats a creation whose answer was lost may validate it first.
TEST_F(JobServiceTest, ACreationThatWasAnsweredIsValid) {
  v1::CreateJobRequest request = LoraJob();
  request.mutable_job()->mutable_spec()->mutable_fine_tune()->set_output_name("mine");
  request.set_request_id("once");
  request.set_validate_only(true);
  ASSERT_TRUE(server_.Create(request).ok());
  request.clear_validate_only();
  const auto created = server_.Create(request);
  ASSERT_TRUE(created.ok()) << created.status();
  request.set_validate_only(true);
  EXPECT_EQ(server_.Create(request)->name(), created->name());
  request.mutable_job()->set_priority(1);
  EXPECT_EQ(ReasonOf(server_.Create(request).status()), kReasonRequestIdReused);
}

// Reasons of the violations by field.
std::map<std::string, std::string> ReasonsOf(const absl::Status& status) {
  std::map<std::string, std::string> reasons;
  for (const auto& violation : FieldViolationsOf(status)) {
    reasons[violation.field()] = violation.reason();
  }
  return reasons;
}

TEST_F(JobServiceTest, AMissingDataSetIsToldByItsReasonBesideAllElse) {
  v1::CreateJobRequest request = LoraJob();
  request.set_validate_only(true);
  v1::FineTuneSpec& spec = *request.mutable_job()->mutable_spec()->mutable_fine_tune();
  spec.mutable_data()->set_train("to-be-uploaded");
  spec.mutable_data()->set_validation("this-too");
  absl::Status status = server_.Create(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ReasonsOf(status),
              ElementsAre(Pair("job.spec.fine_tune.data.train", "DATASET_MISSING"),
                          Pair("job.spec.fine_tune.data.validation", "DATASET_MISSING")));
  spec.mutable_method()->mutable_lora()->set_rank(1000);
  spec.mutable_data()->clear_validation_source();
  status = server_.Create(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(ReasonsOf(status),
              ElementsAre(Pair("job.spec.fine_tune.data.train", "DATASET_MISSING"),
                          Pair("job.spec.fine_tune.method.lora.rank", "")));
  spec.set_base_model("nobody");
  spec.set_init_from("nothing");
  status = server_.Create(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(ReasonsOf(status),
              ElementsAre(Pair("job.spec.fine_tune.base_model", "MODEL_MISSING"),
                          Pair("job.spec.fine_tune.data.train", "DATASET_MISSING"),
                          Pair("job.spec.fine_tune.init_from", "ADAPTER_MISSING")));
}

TEST_F(JobServiceTest, ATakenOutputNameIsToldBeforeTheDataIsThere) {
  v1::CreateJobRequest request = LoraJob();
  request.mutable_job()->mutable_spec()->mutable_fine_tune()->set_output_name("taken");
  ASSERT_TRUE(server_.Create(request).ok());
  request.mutable_job()->mutable_spec()->mutable_fine_tune()->mutable_data()->set_train("later");
  EXPECT_EQ(server_.Create(request).status().code(), absl::StatusCode::kNotFound);
  request.set_validate_only(true);
  EXPECT_EQ(server_.Create(request).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(JobServiceTest, TheSameRequestIdAnswersTheSameJob) {
  v1::CreateJobRequest request = LoraJob();
  (*request.mutable_job()->mutable_labels())["a"] = "1";
  (*request.mutable_job()->mutable_labels())["b"] = "2";
  request.set_request_id("once");
  const auto first = server_.Create(request);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto again = server_.Create(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(first->name(), again->name());
  request.mutable_job()->set_display_name("another");
  const auto other = server_.Create(request);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(other.status()), kReasonRequestIdReused);
  EXPECT_EQ(List({})->jobs_size(), 1);
}

TEST_F(JobServiceTest, AnAnsweredRequestIsAnsweredAlikeWhenItsModelHasGone) {
  v1::CreateJobRequest request = LoraJob();
  request.set_request_id("once");
  const auto first = server_.Create(request);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(server_.Cancel(first->name()).ok());
  ASSERT_TRUE(server_.store().DeleteModel(request.job().spec().fine_tune().base_model()).ok());
  const auto again = server_.Create(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->name(), first->name());
  request.set_request_id("another");
  EXPECT_EQ(server_.Create(request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(JobServiceTest, ListsNameTheMethod) {
  ASSERT_TRUE(server_.Create(LoraJob()).ok());
  const auto response = List({});
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->jobs(0).method(), "lora");
  EXPECT_FALSE(response->jobs(0).has_spec());
}

TEST_F(JobServiceTest, PagesListEveryJobOnceNewestFirst) {
  std::vector<std::string> created;
  for (int i = 0; i < 7; ++i) created.push_back(server_.Create(LoraJob())->name());
  std::vector<std::string> listed;
  v1::ListJobsRequest request;
  request.set_page_size(3);
  int pages = 0;
  do {
    const auto response = List(request);
    ASSERT_TRUE(response.ok()) << response.status();
    for (const std::string& name : NamesOf(*response)) listed.push_back(name);
    request.set_page_token(response->next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 3);
  std::reverse(created.begin(), created.end());
  EXPECT_EQ(listed, created);
}

TEST_F(JobServiceTest, FiltersByStateStudyLabelAndMethod) {
  v1::CreateJobRequest request = LoraJob();
  request.mutable_job()->set_study("s1");
  (*request.mutable_job()->mutable_labels())["rank"] = "2";
  const std::string lora = server_.Create(request)->name();
  request = LoraJob();
  request.mutable_job()->mutable_spec()->mutable_fine_tune()->mutable_method()->Clear();
  request.mutable_job()
      ->mutable_spec()
      ->mutable_fine_tune()
      ->mutable_method()
      ->mutable_last_layers()
      ->set_num_layers(1);
  const std::string last = server_.Create(request)->name();
  ASSERT_TRUE(server_.Cancel(last).ok());
  EXPECT_THAT(*Filter("study = \"s1\""), ::testing::ElementsAre(lora));
  EXPECT_THAT(*Filter("labels.rank = \"2\" AND state = \"QUEUED\""), ::testing::ElementsAre(lora));
  EXPECT_THAT(*Filter("method = \"last_layers\""), ::testing::ElementsAre(last));
  EXPECT_THAT(*Filter("done = true"), ::testing::ElementsAre(last));
  EXPECT_THAT(FieldsOf(Filter("colour = \"red\"").status()), Contains("filter"));
}

TEST_F(JobServiceTest, BadPagingIsRefused) {
  v1::ListJobsRequest request;
  request.set_page_size(-1);
  EXPECT_THAT(FieldsOf(List(request).status()), Contains("page_size"));
  request.set_page_size(1);
  request.set_page_token("nonsense");
  EXPECT_EQ(List(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(JobServiceTest, AQueuedJobIsCancelledAtOnceAndThenDeleted) {
  const std::string name = server_.Create(LoraJob())->name();
  EXPECT_EQ(ReasonOf(Delete(name)), kReasonNotDone);
  const auto cancelled = server_.Cancel(name);
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(server_.Cancel(name)->state(), v1::JOB_STATE_CANCELLED) << "unchanged";
  ASSERT_TRUE(Delete(name).ok());
  EXPECT_EQ(server_.Get(name).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(JobServiceTest, NamesOfJobsAreTakenWithAndWithoutPrefixAndCheckedOtherwise) {
  const std::string name = server_.Create(LoraJob())->name();
  EXPECT_TRUE(server_.Get(name.substr(5)).ok());
  for (const char* bad : {"", "jobs/", "jobs/../x", "jobs/a/b", "../../secret"}) {
    EXPECT_EQ(server_.Get(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(server_.Get("jobs/nosuchjob").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(JobServiceTest, AFullQueueIsRefusedWithATimeToRetry) {
  TestServer small({.max_queued_jobs = 2});
  ASSERT_TRUE(small.Create(LoraJob()).ok());
  ASSERT_TRUE(small.Create(LoraJob()).ok());
  const auto refused = small.Create(LoraJob());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused.status()), kReasonQueueFull);
  EXPECT_GT(RetryDelayOf(refused.status()), absl::ZeroDuration());
}

// One change to a good request each, and what the answer must be.
struct BadSpec {
  const char* what;
  void (*change)(v1::FineTuneSpec&);
  absl::StatusCode code;
  const char* field;
  const char* message;
};

const BadSpec kBadSpecs[] = {
    {"unknown model", [](v1::FineTuneSpec& spec) { spec.set_base_model("gpt5"); },
     absl::StatusCode::kNotFound, "job.spec.fine_tune.base_model", "tiny"},
    {"no model", [](v1::FineTuneSpec& spec) { spec.clear_base_model(); },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.base_model", ""},
    {"unknown data set", [](v1::FineTuneSpec& spec) { spec.mutable_data()->set_train("olds"); },
     absl::StatusCode::kNotFound, "job.spec.fine_tune.data.train", "news"},
    {"unknown adapter", [](v1::FineTuneSpec& spec) { spec.set_init_from("nobody"); },
     absl::StatusCode::kNotFound, "job.spec.fine_tune.init_from", "nobody"},
    {"no method", [](v1::FineTuneSpec& spec) { spec.mutable_method()->Clear(); },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.method", ""},
    {"full and another", [](v1::FineTuneSpec& spec) { spec.mutable_method()->mutable_full(); },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.method.full", ""},
    {"unknown field of the data",
     [](v1::FineTuneSpec& spec) { spec.mutable_data()->set_source_field("body"); },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.data.source_field", "document"},
    {"unknown target module",
     [](v1::FineTuneSpec& spec) {
       spec.mutable_method()->mutable_lora()->add_target_modules("q_proj");
     },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.method.lora.target_modules[0]",
     "c_attn"},
    {"rank 0", [](v1::FineTuneSpec& spec) { spec.mutable_method()->mutable_lora()->set_rank(0); },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.method.lora.rank", ""},
    {"rank beyond the layer",
     [](v1::FineTuneSpec& spec) { spec.mutable_method()->mutable_lora()->set_rank(9); },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.method.lora.rank", "8"},
    {"layer beyond the model",
     [](v1::FineTuneSpec& spec) { spec.mutable_method()->mutable_lora()->add_layers(2); },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.method.lora.layers[0]", ""},
    {"prompt and text longer than the model",
     [](v1::FineTuneSpec& spec) {
       spec.mutable_method()->mutable_soft_prompt()->set_num_virtual_tokens(40);
     },
     absl::StatusCode::kInvalidArgument, "", "64"},
    {"template without {source}",
     [](v1::FineTuneSpec& spec) { spec.mutable_data()->set_prompt_template("Summarise:"); },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.data.prompt_template", "{source}"},
    {"learning rate not a number",
     [](v1::FineTuneSpec& spec) {
       spec.mutable_training()->set_learning_rate(std::numeric_limits<double>::quiet_NaN());
     },
     absl::StatusCode::kInvalidArgument, "job.spec.fine_tune.training.learning_rate", ""},
};

TEST_F(JobServiceTest, BadSpecsAreRefusedByFieldAndStoreNothing) {
  for (const BadSpec& bad : kBadSpecs) {
    SCOPED_TRACE(bad.what);
    v1::CreateJobRequest request = LoraJob();
    bad.change(*request.mutable_job()->mutable_spec()->mutable_fine_tune());
    const auto job = server_.Create(request);
    EXPECT_EQ(job.status().code(), bad.code) << job.status();
    if (*bad.field != '\0') {
      EXPECT_THAT(FieldsOf(job.status()), Contains(bad.field));
    }
    EXPECT_FALSE(FieldsOf(job.status()).empty());
    EXPECT_THAT(std::string(job.status().message()), HasSubstr(bad.message));
  }
  EXPECT_EQ(List({})->jobs_size(), 0);
}

TEST_F(JobServiceTest, AnEmptyRequestIsRefusedNotSuffered) {
  EXPECT_EQ(server_.Create({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(JobServiceTest, AServerThatIsNotThereIsUnavailable) {
  const auto channel = grpc::CreateChannel("unix:" + server_.directory().Path("nobody.sock"),
                                           grpc::InsecureChannelCredentials());
  const auto stub = v1::JobService::NewStub(channel);
  const auto context = CallContext();
  v1::ListJobsResponse response;
  const absl::Status status = FromGrpcStatus(stub->ListJobs(context.get(), {}, &response));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(JobServiceTest, TooLargeARequestIsRefused) {
  v1::CreateJobRequest request = LoraJob();
  request.mutable_job()->set_display_name(std::string(5 << 20, 'x'));
  EXPECT_EQ(server_.Create(request).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(server_.Create(LoraJob()).ok()) << "the server lives on";
}

}  // namespace
}  // namespace graft
