#include "tests/server/store/store_fixture.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class CatalogueTest : public StoreTest {};
INSTANTIATE_ON_EVERY_STORE(CatalogueTest);

TEST_P(CatalogueTest, SameContentAgainIsTheStoredOne) {
  v1::Dataset dataset;
  dataset.set_name("train");
  dataset.set_sha256(std::string(64, 'b'));
  dataset.set_num_rows(99);
  const auto again = store().InsertDataset(dataset);
  ASSERT_OK(again);
  EXPECT_EQ(again->num_rows(), 10);
  dataset.set_sha256(std::string(64, '9'));
  const auto other = store().InsertDataset(dataset);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(other.status()), kReasonNameTaken);
  EXPECT_EQ(store().GetDataset("train")->sha256(), std::string(64, 'b'));
}

TEST_P(CatalogueTest, SameContentAsAnotherThingIsRefused) {
  v1::Dataset dataset = *store().GetDataset("train");
  dataset.set_format(v1::DATASET_FORMAT_CSV);
  EXPECT_EQ(ReasonOf(store().InsertDataset(dataset).status()), kReasonNameTaken);

  v1::Adapter adapter = StoreFixture::NewAdapter("x");
  ASSERT_OK(store().InsertAdapter(adapter));
  ASSERT_OK(store().InsertAdapter(adapter));
  v1::Model model = *store().GetModel("gpt2");
  model.set_name("gpt2-tuned");
  ASSERT_OK(store().InsertModel(model));
  adapter.set_base_model("gpt2-tuned");
  const absl::Status other = store().InsertAdapter(adapter).status();
  EXPECT_EQ(ReasonOf(other), kReasonNameTaken);
  EXPECT_THAT(std::string(other.message()), HasSubstr("for the base model gpt2 ("));
}

TEST_P(CatalogueTest, AModelIsReplacedWholeOrNotAtAll) {
  v1::Model model = *store().GetModel("gpt2");
  const std::string before = model.sha256();
  model.set_sha256(std::string(64, '9'));
  EXPECT_EQ(ReasonOf(store().ReplaceModel(std::string(64, '8'), model).status()),
            kReasonVersionChanged);
  const v1::Job job = fixture_.Submit();
  EXPECT_EQ(ReasonOf(store().ReplaceModel(before, model).status()), kReasonInUse);
  EXPECT_EQ(store().GetModel("gpt2")->sha256(), before);
  ASSERT_OK(store().CancelJob(job.name(), {}));
  ASSERT_OK(store().ReplaceModel(before, model));
  EXPECT_EQ(store().GetModel("gpt2")->sha256(), std::string(64, '9'));
}

TEST_P(CatalogueTest, HostileNamesAreRefused) {
  for (const char* name : {"", ".", "..", "a/b", "a b", ".x"}) {
    v1::Dataset dataset;
    dataset.set_name(name);
    EXPECT_EQ(store().InsertDataset(dataset).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store().GetModel(name).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store().DeleteAdapter(name).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_P(CatalogueTest, ListsArePagedByName) {
  for (const char* name : {"b", "a", "c"}) {
    ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter(name)));
  }
  std::vector<std::string> names;
  std::string token;
  do {
    const auto page = store().ListAdapters({}, 2, token);
    ASSERT_OK(page);
    for (const v1::Adapter& adapter : page->items) names.push_back(adapter.name());
    token = page->next_page_token;
  } while (!token.empty());
  EXPECT_THAT(names, ElementsAre("a", "b", "c"));
  AdapterFilter filter;
  filter.base_model = "gpt3";
  EXPECT_THAT(store().ListAdapters(filter, 0, "")->items, IsEmpty());
  filter.base_model = "gpt2";
  filter.job = "";
  EXPECT_THAT(store().ListAdapters(filter, 0, "")->items, SizeIs(3));
  EXPECT_THAT(store().ListDatasets(0, "")->items, SizeIs(2));
  EXPECT_THAT(store().ListModels(0, "")->items, SizeIs(1));
  EXPECT_EQ(store().ListModels(0, "x").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(CatalogueTest, NothingThatIsUsedIsDeleted) {
  ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter("old")));
  NewJob new_job = StoreFixture::LoraJob();
  new_job.job.mutable_resolved_spec()->mutable_fine_tune()->set_init_from("old");
  new_job.job.mutable_resolved_spec()->mutable_fine_tune()->set_init_from_sha256(
      std::string(64, 'd'));
  ASSERT_OK(store().InsertJob(new_job));
  for (const absl::Status& status : {store().DeleteDataset("train"), store().DeleteDataset("valid"),
                                     store().DeleteModel("gpt2"), store().DeleteAdapter("old")}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ReasonOf(status), kReasonInUse);
    EXPECT_THAT(std::string(status.message()), HasSubstr("jobs/j1"));
  }
  ASSERT_OK(store().CancelJob("jobs/j1", {}));
  EXPECT_OK(store().DeleteDataset("train"));
  EXPECT_EQ(store().GetDataset("train").status().code(), absl::StatusCode::kNotFound);
  const absl::Status model = store().DeleteModel("gpt2");
  EXPECT_THAT(std::string(model.message()), HasSubstr("the adapter old"));
  EXPECT_OK(store().DeleteAdapter("old"));
  EXPECT_OK(store().DeleteModel("gpt2"));
  EXPECT_EQ(store().DeleteModel("gpt2").code(), absl::StatusCode::kNotFound);
}

TEST_P(CatalogueTest, AdapterNeedsItsBaseModel) {
  v1::Adapter adapter = StoreFixture::NewAdapter("stray");
  adapter.set_base_model("unknown");
  EXPECT_EQ(store().InsertAdapter(adapter).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(CatalogueTest, BlobsAreReferencedAsLongAsSomethingNamesThem) {
  ASSERT_OK(store().InsertAdapter(StoreFixture::NewAdapter("x")));
  for (const char of : {'1', 'b', 'c', 'e'}) {
    EXPECT_TRUE(*store().IsBlobReferenced(std::string(64, of))) << of;
  }
  EXPECT_THAT(*store().ReleasedBlobs(), IsEmpty());
  ASSERT_OK(store().DeleteAdapter("x"));
  EXPECT_FALSE(*store().IsBlobReferenced(std::string(64, 'e')));
}

TEST_P(CatalogueTest, ReleasedBlobsAreToldUntilTheyAreForgotten) {
  v1::Adapter adapter = StoreFixture::NewAdapter("x");
  ASSERT_OK(store().InsertAdapter(adapter));
  adapter.set_name("y");
  ASSERT_OK(store().InsertAdapter(adapter));
  ASSERT_OK(store().DeleteAdapter("x"));
  ASSERT_OK(store().DeleteDataset("train"));
  const std::string shared(64, 'e'), gone(64, 'b');
  EXPECT_THAT(*store().ReleasedBlobs(), ElementsAre(gone, shared));
  EXPECT_TRUE(*store().IsBlobReferenced(shared));
  ASSERT_OK(store().ForgetReleasedBlobs({gone}));
  EXPECT_THAT(*store().ReleasedBlobs(), ElementsAre(shared));
}

TEST_P(CatalogueTest, ACheckpointThatANewerOneReplacedIsReleased) {
  const LeaseRef lease = fixture_.Start(kWorker);
  for (int step = 1; step <= 3; ++step) {
    ASSERT_OK(store().CommitCheckpoint(
        lease, {step, {StoreFixture::File("state", static_cast<char>('4' + step))}}));
  }
  EXPECT_THAT(*store().ReleasedBlobs(), ElementsAre(std::string(64, '5')));
  ASSERT_OK(store().FinishAttempt(lease, 0, StoreFixture::Success()));
  EXPECT_THAT(*store().ReleasedBlobs(), ElementsAre(std::string(64, '5'), std::string(64, '6')))
      << "a job that is done keeps its newest";
}

}  // namespace
}  // namespace graft
