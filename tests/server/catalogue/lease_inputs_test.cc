#include "server/catalogue/lease_inputs.h"

#include <utility>

#include "common/base/limits.h"
#include "server/catalogue/dataset_format.h"
#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

TEST(LeaseInputsTest, OnlyWhatAnotherTryWouldFindAgainFailsTheJob) {
  for (const absl::Status& lasting :
       {absl::NotFoundError("gone"), absl::FailedPreconditionError("changed"),
        absl::OutOfRangeError("too large")}) {
    const AttemptOutcome outcome = OutcomeOfUnfilled(lasting);
    ASSERT_TRUE(std::holds_alternative<AttemptFailed>(outcome)) << lasting;
    EXPECT_EQ(std::get<AttemptFailed>(outcome).failure_class, v1::FAILURE_CLASS_CONFIG);
    EXPECT_EQ(std::get<AttemptFailed>(outcome).error.message(), lasting.message());
  }
  const AttemptOutcome broken = OutcomeOfUnfilled(absl::DataLossError("its row does not parse"));
  ASSERT_TRUE(std::holds_alternative<AttemptFailed>(broken));
  EXPECT_EQ(std::get<AttemptFailed>(broken).failure_class, v1::FAILURE_CLASS_INTERNAL);
  EXPECT_EQ(std::get<AttemptFailed>(broken).error.message(),
            "the server's store is broken: its row does not parse");
  for (const absl::Status& passing :
       {absl::UnavailableError("busy"), absl::ResourceExhaustedError("too many open files"),
        absl::AbortedError("meanwhile"), absl::InternalError("a bug"), absl::UnknownError(""),
        absl::DeadlineExceededError("slow"), absl::CancelledError()}) {
    const AttemptOutcome outcome = OutcomeOfUnfilled(passing);
    ASSERT_TRUE(std::holds_alternative<AttemptReturned>(outcome)) << passing;
    EXPECT_FALSE(std::get<AttemptReturned>(outcome).worker_fault);
    EXPECT_TRUE(std::get<AttemptReturned>(outcome).by_server);
  }
}

TEST(LeaseInputsTest, TheNameOfTheDataTellsItsFormat) {
  v1::Dataset dataset;
  for (const auto& [format, path] : {std::pair(v1::DATASET_FORMAT_JSON_LINES, "data.jsonl"),
                                     std::pair(v1::DATASET_FORMAT_CSV, "data.csv"),
                                     std::pair(v1::DATASET_FORMAT_TEXT, "data.txt")}) {
    dataset.set_format(format);
    EXPECT_EQ(FileOf(dataset).path(), path);
    EXPECT_EQ(FromDataFormat(FormatOfName(path)), format);
  }
}

class FillLeaseTest : public ::testing::Test {
 protected:
  absl::Status Fill() {
    const auto claim = fixture_.ClaimNext(kWorker);
    EXPECT_OK(claim);
    return FillLease(fixture_.store(), *claim, &lease_);
  }
  worker::v1::Lease lease_;
  StoreFixture fixture_{StoreKind::kMemory};
};

TEST_F(FillLeaseTest, InputsThatAreThereAreFound) {
  fixture_.Submit();
  EXPECT_OK(Fill());
}

TEST_F(FillLeaseTest, SeveralAdaptersComeInTheOrderOfTheSpec) {
  NewJob job;
  v1::EvaluateSpec& spec = *job.job.mutable_resolved_spec()->mutable_evaluate();
  spec.set_base_model("gpt2");
  for (const char digit : {'2', '1'}) {
    v1::Adapter adapter = StoreFixture::NewAdapter(std::string(1, digit));
    adapter.set_sha256(std::string(64, digit));
    ASSERT_OK(fixture_.store().InsertAdapter(adapter));
    spec.add_adapters(adapter.name());
    spec.add_adapters_sha256(adapter.sha256());
  }
  spec.set_base_model_sha256(std::string(64, 'a'));
  *job.job.mutable_spec() = job.job.resolved_spec();
  ASSERT_OK(fixture_.store().InsertJob(job));
  ASSERT_OK(Fill());
  ASSERT_EQ(lease_.adapters_size(), 2);
  EXPECT_EQ(lease_.adapters(0).sha256(), std::string(64, '2'));
  EXPECT_EQ(lease_.adapters(1).sha256(), std::string(64, '1'));
  EXPECT_EQ(lease_.adapters(0).files_size(), 1);
  EXPECT_FALSE(lease_.has_adapter());
}

TEST_F(FillLeaseTest, ALeaseThatNoWorkerCouldReceiveIsRefused) {
  NewJob job = StoreFixture::LoraJob();
  job.job.mutable_resolved_spec()->mutable_fine_tune()->mutable_data()->set_prompt_template(
      std::string(kMaxLeaseBytes, 'x'));
  ASSERT_OK(fixture_.store().InsertJob(job));
  const absl::Status refused = Fill();
  EXPECT_TRUE(absl::IsOutOfRange(refused)) << refused;
  EXPECT_TRUE(std::holds_alternative<AttemptFailed>(OutcomeOfUnfilled(refused)));
}

}  // namespace
}  // namespace graft
