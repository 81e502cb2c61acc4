#include "server/catalogue/dataset_upload.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

TEST(CheckDatasetRowsTest, GivesUpInTheMiddleWhenNobodyWaits) {
  const TempDir directory;
  const auto blobs = *FileBlobStore::Open(directory.Path("blobs"));
  std::string rows;
  for (int i = 0; i < 1000; ++i)
    absl::StrAppend(&rows, R"({"document": "a", "summary": "b"})", "\n");
  v1::Dataset dataset;
  dataset.set_sha256(blobs->Put(rows)->sha256);
  int asked = 0;
  const auto after_ten = [&] { return ++asked > 10; };
  EXPECT_EQ(CheckDatasetRows(*blobs, DataFormat::kAutomatic, after_ten, &dataset).code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(asked, 11) << "not a row more";
  EXPECT_TRUE(CheckDatasetRows(
                  *blobs, DataFormat::kAutomatic, [] { return false; }, &dataset)
                  .ok());
  EXPECT_EQ(dataset.num_rows(), 1000);
}

}  // namespace
}  // namespace graft
