#include "server/process/housekeeper.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/telemetry/log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/process/scrubber.h"
#include "tests/fakes/temp_dir.h"
#include "tests/server/process/wait_until.h"

namespace graft {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A store with the model "m" of one file.
class HousekeeperTest : public ::testing::Test {
 protected:
  HousekeeperTest() {
    v1::Model model;
    model.set_name("m");
    model.set_sha256(std::string(64, 'a'));
    v1::Artifact& file = *model.add_files();
    file.set_path("config.json");
    file.set_sha256(blob_.sha256);
    file.set_size_bytes(blob_.size_bytes);
    EXPECT_TRUE(store_->InsertModel(model).ok());
    options_.clock = &clock_;
  }
  static std::unique_ptr<JobStore> Open(Clock& clock) {
    StoreOptions options;
    options.clock = &clock;
    return *OpenJobStore("memory:", options);
  }
  // Of a counter or gauge without labels.
  static double Value(MetricRegistry& registry, const std::string& name) {
    for (const prometheus::MetricFamily& family : registry.collectable()->Collect()) {
      if (family.name != name || family.metric.empty()) continue;
      return family.metric[0].counter.value + family.metric[0].gauge.value;
    }
    return -1;
  }
  std::string View() {
    return ReadFile(directory_.Path("models/m/config.json"), 100).value_or("none");
  }
  void Corrupt() {
    const std::string path = *blobs_->PathOf(blob_.sha256);
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    const UniqueFd fd = *OpenFile(path, O_RDWR);
    ASSERT_EQ(::pwrite(fd.get(), "]", 1, 1), 1);
  }

  const TempDir directory_;
  FakeClock clock_;
  const std::unique_ptr<JobStore> store_ = Open(clock_);
  const std::unique_ptr<FileBlobStore> blobs_ = *FileBlobStore::Open(directory_.Path("blobs"));
  const BlobInfo blob_ = *blobs_->Put("{}");
  const std::unique_ptr<Publisher> publisher_ =
      *Publisher::Open(directory_.path(), *store_, *blobs_);
  const std::unique_ptr<JobLogs> logs_ = *JobLogs::Open(directory_.Path("logs"));
  MetricRegistry registry_;
  const std::unique_ptr<PartialUploads> partials_ = *PartialUploads::Open(
      *blobs_, [this] { return store_->RunningTime(); }, registry_);
  HousekeeperOptions options_;
};

TEST_F(HousekeeperTest, AViewThatCouldNotBeMadeIsTriedAgain) {
  const std::string in_the_way = directory_.Path("models/m");
  ASSERT_TRUE(WriteFileAtomically(in_the_way, "not ours").ok());
  const Housekeeper housekeeper(options_, *store_, *blobs_, *publisher_, *logs_, *partials_);
  ASSERT_TRUE(WaitUntil([&] { return publisher_->incomplete(); }));
  ASSERT_TRUE(RemoveFile(in_the_way).ok());
  EXPECT_TRUE(WaitUntil([&] {
    clock_.Advance(absl::Minutes(1));
    return View() == "{}";
  }));
  EXPECT_TRUE(WaitUntil([&] { return !publisher_->incomplete(); }));
}

TEST_F(HousekeeperTest, AViewThatCannotBeMadeIsTriedOnceAtTheStart) {
  LogOptions log;
  log.file = directory_.Path("log");
  ASSERT_TRUE(StartLogging(log).ok());
  ASSERT_TRUE(WriteFileAtomically(directory_.Path("models/m"), "not ours").ok());
  v1::Dataset dataset;
  dataset.set_name("d");
  dataset.set_sha256(blobs_->Put("released")->sha256);
  ASSERT_TRUE(store_->InsertDataset(dataset).ok());
  ASSERT_TRUE(store_->DeleteDataset("d").ok());
  {
    const Housekeeper housekeeper(options_, *store_, *blobs_, *publisher_, *logs_, *partials_);
    // In the first round after the views.
    ASSERT_TRUE(WaitUntil([&] { return !store_->UnnamedBlobs()->empty(); }));
  }
  const std::vector<std::string> lines =
      absl::StrSplit(*ReadFile(log.file, 1 << 20), '\n', absl::SkipEmpty());
  EXPECT_THAT(lines, ElementsAre(HasSubstr("is not one of ours")));
  EXPECT_TRUE(StartLogging({}).ok());
}

TEST_F(HousekeeperTest, AViewOfWhatWasMendedShowsTheNewFile) {
  const Housekeeper housekeeper(options_, *store_, *blobs_, *publisher_, *logs_, *partials_);
  ASSERT_TRUE(WaitUntil([&] { return View() == "{}"; }));
  Corrupt();
  EXPECT_EQ(View(), "{]");
  ASSERT_TRUE(blobs_->Put("{}").ok());
  EXPECT_TRUE(WaitUntil([&] {
    clock_.Advance(absl::Minutes(1));
    return View() == "{}";
  }));
}

TEST_F(HousekeeperTest, JobsThatEndedLongAgoGoWithTheirLogsAfterTheGrace) {
  StoreOptions options;
  options.clock = &clock_;
  options.job_lifetime = absl::Minutes(10);
  const std::unique_ptr<JobStore> store = *OpenJobStore("memory:", options);
  std::vector<std::string> jobs;
  for (int i = 0; i < 30; ++i) {
    jobs.push_back(store->InsertJob({})->name());
    ASSERT_TRUE(store->CancelJob(jobs.back(), {}).ok());
    ASSERT_TRUE(
        logs_->Append({jobs.back().substr(5), 1, v1::JOB_LOG_STREAM_ENGINE}, 0, "words").ok());
  }
  v1::Dataset dataset;
  dataset.set_name("d");
  dataset.set_sha256(blobs_->Put("released")->sha256);
  ASSERT_TRUE(store->InsertDataset(dataset).ok());
  ASSERT_TRUE(store->DeleteDataset("d").ok());
  const Housekeeper housekeeper(options_, *store, *blobs_, *publisher_, *logs_, *partials_);
  // What was released goes in a later round than it is noted in: that one is over.
  clock_.Advance(options_.grace - absl::Minutes(10));
  ASSERT_TRUE(WaitUntil([&] { return !store->UnnamedBlobs()->empty(); }));
  clock_.Advance(absl::Minutes(6));
  ASSERT_TRUE(WaitUntil([&] { return !blobs_->Stat(dataset.sha256()).ok(); }));
  EXPECT_EQ(store->ListJobs({})->items.size(), jobs.size());
  EXPECT_TRUE(WaitUntil([&] {
    clock_.Advance(absl::Minutes(1));
    return store->ListJobs({})->items.empty() && logs_->JobIds()->empty();
  }));
}

TEST_F(HousekeeperTest, NothingIsSearchedForBeforeTheGraceIsOver) {
  const BlobInfo garbage = *blobs_->Put("garbage");
  const BlobInfo released = *blobs_->Put("released");
  v1::Dataset dataset;
  dataset.set_name("d");
  dataset.set_sha256(released.sha256);
  ASSERT_TRUE(store_->InsertDataset(dataset).ok());
  ASSERT_TRUE(store_->DeleteDataset("d").ok());
  const Housekeeper housekeeper(options_, *store_, *blobs_, *publisher_, *logs_, *partials_);
  // What the store itself released shows that the rounds of the first minutes are done.
  ASSERT_TRUE(WaitUntil([&] { return !store_->UnnamedBlobs()->empty(); }));
  clock_.Advance(absl::Minutes(6));
  ASSERT_TRUE(WaitUntil([&] { return !blobs_->Stat(released.sha256).ok(); }));
  ASSERT_TRUE(WaitUntil([&] { return store_->ReleasedBlobs()->empty(); }));
  const std::vector<UnnamedBlob> seen = *store_->UnnamedBlobs();
  for (const UnnamedBlob& blob : seen) EXPECT_NE(blob.sha256, garbage.sha256);
  EXPECT_TRUE(WaitUntil([&] {
    clock_.Advance(absl::Minutes(1));
    const auto noted = *store_->UnnamedBlobs();
    return noted.size() == 1 && noted[0].sha256 == garbage.sha256;
  }));
  EXPECT_TRUE(WaitUntil([&] {
    clock_.Advance(absl::Hours(1));
    return !blobs_->Stat(garbage.sha256).ok();
  }));
  EXPECT_TRUE(blobs_->Stat(blob_.sha256).ok());
}

TEST_F(HousekeeperTest, TheScrubberFindsWhatNobodyAsksFor) {
  MetricRegistry registry;
  Corrupt();
  ScrubberOptions options;
  options.clock = &clock_;
  const Scrubber scrubber(options, *blobs_, registry);
  EXPECT_TRUE(WaitUntil([&] {
    clock_.Advance(absl::Minutes(1));
    return !blobs_->Corrupt().empty();
  }));
  EXPECT_TRUE(WaitUntil([&] {
    clock_.Advance(absl::Minutes(1));
    return Value(registry, "graft_scrubbed_bytes_total") == 2;
  }));
  EXPECT_EQ(Value(registry, "graft_corrupt_blobs"), 1);
}

}  // namespace
}  // namespace graft
