#include "server/catalogue/file_chunks.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/memory_blob_store.h"

namespace graft {
namespace {

using ::testing::HasSubstr;

// Opens nothing.
class ClosedBlobStore : public MemoryBlobStore {
 public:
  explicit ClosedBlobStore(absl::Status status) : status_(std::move(status)) {}
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(absl::string_view) const override {
    return status_;
  }

 private:
  const absl::Status status_;
};

absl::Status StatusOfReading(const absl::Status& open) {
  ClosedBlobStore blobs(open);
  v1::Artifact file;
  file.set_path("adapter_model.safetensors");
  return BlobFile(blobs, file).next().status();
}

TEST(FileChunksTest, OnlyABlobThatIsGoneIsLostData) {
  const absl::Status gone = StatusOfReading(absl::NotFoundError("there is no blob"));
  EXPECT_TRUE(absl::IsDataLoss(gone)) << gone;
  const absl::Status busy =
      StatusOfReading(absl::ResourceExhaustedError("cannot open: Too many open files"));
  EXPECT_TRUE(absl::IsResourceExhausted(busy)) << "may be asked for again: " << busy;
  for (const absl::Status& status : {gone, busy}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr("adapter_model.safetensors: "));
  }
}

}  // namespace
}  // namespace graft
