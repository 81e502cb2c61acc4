// What a power loss leaves of blobs and views, after any change of the disk that a series of
// uploads, publications and deletions makes.

#include <map>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/blobs/file_blob_store.h"
#include "common/blobs/publish.h"
#include "gtest/gtest.h"
#include "tests/fakes/power_loss.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

constexpr uint64_t kSeeds = 3;

struct Shown {
  std::string uid;
  std::vector<ManifestFile> files;
};

// What was answered by then: blobs that are there, and what each name shows.
struct Moment {
  size_t position = 0;  // In the log.
  std::set<std::string> blobs;
  std::map<std::string, Shown> views;
};

class BlobPowerLossTest : public ::testing::Test {
 protected:
  struct Artifacts {
    explicit Artifacts(const std::string& root)
        : blobs(*FileBlobStore::Open(JoinPath(root, "blobs"))),
          views(*ViewPublisher::Open(JoinPath(root, "views"), *blobs)) {}
    std::unique_ptr<FileBlobStore> blobs;
    ViewPublisher views;
  };

  void Answered() {
    now_.position = log_->size();
    moments_.push_back(now_);
  }
  ManifestFile Put(Artifacts& artifacts, const std::string& path, const std::string& content) {
    const auto blob = artifacts.blobs->Put(content);
    EXPECT_TRUE(blob.ok()) << blob.status();
    now_.blobs.insert(blob->sha256);
    Answered();
    return {path, blob->size_bytes, blob->sha256};
  }
  void Publish(Artifacts& artifacts, const std::string& name, const Shown& shown) {
    EXPECT_TRUE(artifacts.views.Publish(shown.uid, name, shown.files).ok());
    now_.views[name] = shown;
    Answered();
  }
  void Record() {
    const std::string root = directory_.Path("recorded");
    ASSERT_TRUE(CreateDirectories(root).ok());
    log_.emplace(root);
    Artifacts artifacts(root);
    Answered();
    for (int i = 0; i < 6; ++i) {
      Shown shown = {absl::StrCat("uid-", i), {}};
      shown.files = {Put(artifacts, "adapter_model.safetensors",
                         std::string(3000, static_cast<char>('a' + i))),
                     Put(artifacts, "logs/metrics.jsonl", absl::StrCat("line ", i))};
      Publish(artifacts, absl::StrCat("name-", i % 2), shown);
    }
    const Shown gone = now_.views.at("name-0");
    now_.views.erase("name-0");
    EXPECT_TRUE(artifacts.views.Remove(gone.uid, "name-0").ok());
    Answered();
    now_.blobs.erase(gone.files[0].sha256);
    EXPECT_TRUE(artifacts.blobs->Delete(gone.files[0].sha256).ok());
    Answered();
    EXPECT_TRUE(artifacts.views.RemoveUnnamed().ok());
    Answered();
    log_->Stop();
  }

  static bool Shows(const Artifacts& artifacts, const Moment& moment, const std::string& name) {
    const auto view = moment.views.find(name);
    return view != moment.views.end() &&
           artifacts.views.IsWhole(view->second.uid, name, view->second.files);
  }
  void Check(const std::string& root, size_t position) {
    size_t last = 0;
    while (last + 1 < moments_.size() && moments_[last + 1].position <= position) ++last;
    if (moments_[last].position > position) return;  // Nothing was answered yet.
    const Moment& before = moments_[last];
    const Moment& after = moments_[std::min(last + 1, moments_.size() - 1)];
    const Artifacts artifacts(root);
    for (const std::string& blob : before.blobs) {
      if (after.blobs.count(blob) == 0) continue;
      EXPECT_TRUE(artifacts.blobs->Verify(blob).ok()) << blob;
    }
    // What was not answered is whole, if it is there.
    EXPECT_TRUE(artifacts.blobs
                    ->ForEach([&](const BlobInfo& blob) {
                      EXPECT_TRUE(artifacts.blobs->Verify(blob.sha256).ok()) << blob.sha256;
                      return true;
                    })
                    .ok());
    for (const auto& [name, view] : before.views) {
      if (after.views.count(name) == 0) continue;
      EXPECT_TRUE(Shows(artifacts, before, name) || Shows(artifacts, after, name)) << name;
    }
  }

  const TempDir directory_{FastDirectory()};  // What syncs promise is computed.
  std::optional<DiskLog> log_;
  Moment now_;
  std::vector<Moment> moments_;
};

TEST_F(BlobPowerLossTest, LeavesWholeBlobsAndViewsAndAllThatWereAnswered) {
  Record();
  PowerLoss loss(*log_);
  const std::string left = directory_.Path("left");
  for (;; loss.Advance()) {
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      SCOPED_TRACE(absl::StrCat("after ", loss.position(), " changes of the disk, seed ", seed));
      loss.Leave(left, seed);
      Check(left, loss.position());
      if (HasFatalFailure() || HasNonfatalFailure()) return;
      ASSERT_TRUE(RemoveTree(left).ok());
    }
    if (loss.position() == log_->changes().size()) break;
  }
  EXPECT_GE(loss.position(), 150u);
}

}  // namespace
}  // namespace graft
