#include "server/rpc/study_service.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/base/usable_cores.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "graft/v1/study.grpc.pb.h"
#include "gtest/gtest.h"
#include "tests/server/rpc/fake_worker.h"
#include "tests/server/rpc/test_server.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kTemplate[] =
    "spec_template { fine_tune { base_model: 'tiny' data { train: 'news' validation: 'news' } "
    "training { max_steps: 40 learning_rate: 1e-3 } method { lora {} } evaluation { max_samples: 0 "
    "} "
    "} } ";
constexpr char kRanks[] =
    "space { key: 'fine_tune.method.lora.rank' value { choices { values { number_value: 2 } values "
    "{ "
    "number_value: 4 } } } } ";

class StudyServiceTest : public ::testing::Test {
 protected:
  static v1::CreateStudyRequest Asked(const std::string& text, const std::string& request_id = "") {
    v1::CreateStudyRequest request;
    EXPECT_TRUE(
        google::protobuf::TextFormat::ParseFromString(kTemplate + text, request.mutable_study()))
        << text;
    request.set_request_id(request_id);
    return request;
  }
  absl::StatusOr<v1::Study> Create(const v1::CreateStudyRequest& request) {
    return Call(&v1::StudyService::Stub::CreateStudy, request);
  }
  template <typename Request>
  absl::StatusOr<v1::Study> Call(grpc::Status (v1::StudyService::Stub::*method)(
                                     grpc::ClientContext*, const Request&, v1::Study*),
                                 const Request& request) {
    v1::Study study;
    const auto context = CallContext();
    const absl::Status status = FromGrpcStatus((*stub_.*method)(context.get(), request, &study));
    if (!status.ok()) return status;
    return study;
  }
  template <typename Request>
  static Request Named(const std::string& name) {
    Request request;
    request.set_name(name);
    return request;
  }
  absl::StatusOr<v1::Study> Get(const std::string& name) {
    return Call(&v1::StudyService::Stub::GetStudy, Named<v1::GetStudyRequest>(name));
  }
  absl::Status Delete(const std::string& name) {
    google::protobuf::Empty nothing;
    const auto context = CallContext();
    return FromGrpcStatus(
        stub_->DeleteStudy(context.get(), Named<v1::DeleteStudyRequest>(name), &nothing));
  }

  TestServer server_;
  const std::unique_ptr<v1::StudyService::Stub> stub_ =
      v1::StudyService::NewStub(server_.channel());
};

TEST_F(StudyServiceTest, AStudyIsMadeWithJobsThatAreResolved) {
  const auto study = Create(Asked(std::string(kRanks) + "repeats: 2", "once"));
  ASSERT_TRUE(study.ok()) << study.status();
  ASSERT_THAT(study->trials(), SizeIs(4));
  EXPECT_EQ(study->exhaustive_steps(), 160);
  EXPECT_EQ(study->trials(0).seed(), 42u);
  EXPECT_EQ(study->trials(1).seed(), 43u);
  const auto job = server_.store().GetJob(study->trials(3).job());
  ASSERT_TRUE(job.ok());
  const v1::FineTuneSpec& spec = job->resolved_spec().fine_tune();
  EXPECT_EQ(spec.method().lora().rank(), 4);
  EXPECT_EQ(spec.method().lora().alpha(), 16) << "a default";
  EXPECT_EQ(spec.training().seed(), 43u);
  EXPECT_FALSE(spec.base_model_sha256().empty());
  EXPECT_EQ(spec.output_name(), study->output_name() + "-4");
  EXPECT_EQ(Create(Asked(std::string(kRanks) + "repeats: 2", "once"))->name(), study->name());
  const auto context = CallContext();
  v1::ListStudiesResponse list;
  ASSERT_TRUE(stub_->ListStudies(context.get(), {}, &list).ok());
  ASSERT_THAT(list.studies(), SizeIs(1));
  EXPECT_EQ(list.studies(0).name(), study->name());
}

TEST_F(StudyServiceTest, AllTrialsHaveOneNumberOfThreads) {
  TestServer server({.engine_threads = 0});
  const auto stub = v1::StudyService::NewStub(server.channel());
  const auto threads = [&](const v1::CreateStudyRequest& request) {
    v1::Study study;
    const auto context = CallContext();
    EXPECT_TRUE(stub->CreateStudy(context.get(), request, &study).ok());
    std::set<int> numbers;
    for (const v1::Trial& trial : study.trials()) {
      const auto job = server.store().GetJob(trial.job());
      numbers.insert(job->resolved_spec().fine_tune().training().threads());
    }
    return numbers;
  };
  EXPECT_THAT(threads(Asked(kRanks)), ElementsAre(UsableCores())) << "nobody is there yet";
  FakeWorker one(server, "w1"), two(server, "w2"), texts(server, "w3");
  worker::v1::ConnectRequest hello;
  hello.set_engine_threads(5);
  one.Connect(1, hello);
  hello.set_engine_threads(4);
  two.Connect(1, hello);
  hello.set_engine_threads(1);
  hello.set_serves_only(true);
  texts.Connect(1, hello);
  EXPECT_THAT(threads(Asked(kRanks)), ElementsAre(4))
      << "as the worker with the fewest that takes jobs";
  v1::CreateStudyRequest given = Asked(kRanks);
  given.mutable_study()
      ->mutable_spec_template()
      ->mutable_fine_tune()
      ->mutable_training()
      ->set_threads(2);
  EXPECT_THAT(threads(given), ElementsAre(2));
}

TEST_F(StudyServiceTest, ValidationMakesNothing) {
  v1::CreateStudyRequest request = Asked(kRanks);
  request.set_validate_only(true);
  const auto study = Create(request);
  ASSERT_TRUE(study.ok()) << study.status();
  EXPECT_THAT(study->trials(), SizeIs(2));
  EXPECT_EQ(study->name(), "");
  EXPECT_THAT(*server_.store().OpenStudies(), IsEmpty());
}

TEST_F(StudyServiceTest, WhatIsWrongIsNamed) {
  const struct {
    std::string text;
    absl::StatusCode code;
    std::vector<std::string> words;
  } cases[] = {
      {"space { key: 'fine_tune.method.lora.rank' value { choices { values { number_value: 2 } "
       "values "
       "{ number_value: 4000 } } } }",
       absl::StatusCode::kInvalidArgument,
       {"trial 2 (rank=4000)", "method.lora.rank"}},
      {"space { key: 'fine_tune.base_model' value { choices { values { string_value: 'none' } } } "
       "}",
       absl::StatusCode::kNotFound,
       {"trial 1", "none"}},
      {"space { key: 'fine_tune.data.train' value { choices { values { string_value: 'lost' } } } "
       "}",
       absl::StatusCode::kNotFound,
       {"lost"}},
      {"limits { max_trials: 1 } " + std::string(kRanks),
       absl::StatusCode::kInvalidArgument,
       {"more than 1 points"}},
      {"space { key: 'fine_tune.data.source_field' value { choices { values { string_value: "
       "'title' } "
       "} } }",
       absl::StatusCode::kInvalidArgument,
       {"title"}},
      {"deadline { seconds: 5 }", absl::StatusCode::kInvalidArgument, {"study.deadline", "passed"}},
      {"objective { metric: 'loss' }", absl::StatusCode::kInvalidArgument, {"objective.metric"}},
  };
  for (const auto& [text, code, words] : cases) {
    const absl::Status refused = Create(Asked(text)).status();
    EXPECT_EQ(refused.code(), code) << text << refused;
    for (const std::string& word : words) EXPECT_THAT(refused.message(), HasSubstr(word));
  }
  EXPECT_THAT(*server_.store().OpenStudies(), IsEmpty());
  EXPECT_EQ(Get("studies/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Get("../x").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Delete("studies/none").code(), absl::StatusCode::kNotFound);
}

TEST_F(StudyServiceTest, AWatcherSeesEachEventOnceUntilTheEnd) {
  const auto study = Create(Asked(kRanks));
  ASSERT_TRUE(study.ok()) << study.status();
  const auto context = CallContext();
  const auto reader = stub_->WatchStudy(context.get(), Named<v1::WatchStudyRequest>(study->name()));
  FakeWorker worker(server_, "w1");
  worker.Connect();
  // One fails, and the other is cancelled by a person: the study's own thread takes both in.
  const auto lease = worker.Lease("r1");
  ASSERT_TRUE(lease.ok());
  worker::v1::FinishAttemptRequest failed;
  failed.mutable_failed()->set_failure_class(v1::FAILURE_CLASS_DATA);
  failed.mutable_failed()->mutable_error()->set_message("a bad row");
  ASSERT_TRUE(worker.Finish(*lease, 0, failed).ok());
  ASSERT_TRUE(server_.store().CancelJob(study->trials(1).job(), {}).ok());
  v1::WatchStudyResponse response;
  int64_t sequence = 0;
  v1::StudyState last = v1::STUDY_STATE_UNSPECIFIED;
  while (reader->Read(&response)) {
    if (!response.has_event()) continue;
    EXPECT_EQ(response.event().sequence(), ++sequence);
    if (response.event().has_state_change()) last = response.event().state_change().to();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(last, v1::STUDY_STATE_FAILED);
  EXPECT_EQ(Get(study->name())->last_sequence(), sequence);
  v1::WatchStudyRequest beyond = Named<v1::WatchStudyRequest>(study->name());
  beyond.set_after_sequence(sequence + 1);
  const auto again = CallContext();
  const auto refused = stub_->WatchStudy(again.get(), beyond);
  EXPECT_FALSE(refused->Read(&response));
  EXPECT_EQ(refused->Finish().error_code(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST_F(StudyServiceTest, MetricsTellOfStudies) {
  EXPECT_THAT(server_.registry().Text(), HasSubstr("graft_studies{state=\"RUNNING\"} 0"));
  EXPECT_THAT(server_.registry().Text(),
              HasSubstr("graft_studies_ended_total{state=\"FAILED\"} 0"));
  const auto study = Create(Asked(kRanks));
  ASSERT_TRUE(study.ok()) << study.status();
  EXPECT_THAT(server_.registry().Text(), HasSubstr("graft_studies{state=\"RUNNING\"} 1"));
  for (const v1::Trial& trial : study->trials()) {
    ASSERT_TRUE(server_.store().CancelJob(trial.job(), {}).ok());
  }
  // The study loop hears of it a little later.
  std::string text;
  do {
    text = server_.registry().Text();
  } while (!absl::StrContains(text, "graft_studies_ended_total{state=\"FAILED\"} 1"));
  EXPECT_THAT(server_.registry().Text(), HasSubstr("graft_studies{state=\"RUNNING\"} 0"));
}

TEST_F(StudyServiceTest, OneWhoseTrialsAllEndedWhileItWasPausedEndsWhenItIsResumed) {
  const auto study = Create(Asked(kRanks));
  ASSERT_TRUE(study.ok()) << study.status();
  ASSERT_TRUE(
      Call(&v1::StudyService::Stub::PauseStudy, Named<v1::PauseStudyRequest>(study->name())).ok());
  for (const v1::Trial& trial : study->trials()) {
    ASSERT_TRUE(server_.store().CancelJob(trial.job(), {}).ok());
  }
  ASSERT_TRUE(
      Call(&v1::StudyService::Stub::ResumeStudy, Named<v1::ResumeStudyRequest>(study->name()))
          .ok());
  // The study loop ends it a little later.
  v1::StudyState state = v1::STUDY_STATE_UNSPECIFIED;
  do {
    state = Get(study->name())->state();
  } while (state == v1::STUDY_STATE_RUNNING);
  EXPECT_EQ(state, v1::STUDY_STATE_FAILED);
}

TEST_F(StudyServiceTest, ItIsPausedResumedCancelledAndDeletedWithItsJobs) {
  const auto study = Create(Asked(kRanks));
  ASSERT_TRUE(study.ok()) << study.status();
  const std::string& name = study->name();
  EXPECT_EQ(Call(&v1::StudyService::Stub::PauseStudy, Named<v1::PauseStudyRequest>(name))->state(),
            v1::STUDY_STATE_PAUSED);
  EXPECT_EQ(
      Call(&v1::StudyService::Stub::ResumeStudy, Named<v1::ResumeStudyRequest>(name))->state(),
      v1::STUDY_STATE_RUNNING);
  EXPECT_EQ(ReasonOf(Delete(name)), kReasonNotDone);
  EXPECT_EQ(
      Call(&v1::StudyService::Stub::CancelStudy, Named<v1::CancelStudyRequest>(name))->state(),
      v1::STUDY_STATE_CANCELLED);
  EXPECT_TRUE(Delete(name).ok());
  EXPECT_EQ(server_.store().GetJob(study->trials(0).job()).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Get(name).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace graft
