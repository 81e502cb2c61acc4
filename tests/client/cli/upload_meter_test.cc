#include "client/cli/upload_meter.h"

#include "gtest/gtest.h"

namespace graft {
namespace {

using Stage = UploadProgress::Stage;
constexpr int64_t kMega = 1'000'000;

TEST(UploadViewTest, TheRateIsOfWhatThisConnectionSent) {
  UploadView view;
  EXPECT_EQ(view.Line({Stage::kHashing, kMega, 10 * kMega, 0, {}}, absl::Seconds(1)),
            "reading 1.0 MB of 10 MB");
  EXPECT_EQ(view.Line({Stage::kSending, 4 * kMega, 10 * kMega, 4 * kMega, {}}, absl::Seconds(5)),
            "4.0 MB of 10 MB");
  EXPECT_EQ(view.Line({Stage::kSending, 6 * kMega, 10 * kMega, 4 * kMega, {}}, absl::Seconds(7)),
            "6.0 MB of 10 MB  1.0 MB/s  4.0s left");
}

TEST(UploadViewTest, WhatWasThereAlreadyIsToldOnce) {
  UploadView view;
  EXPECT_EQ(view.News({Stage::kSending, 1, 2 * kMega, 0, {}}), "");
  EXPECT_EQ(view.News({Stage::kSending, kMega, 2 * kMega, kMega, {}}),
            "goes on at 1.0 MB of 2.0 MB\n");
  EXPECT_EQ(view.News({Stage::kSending, kMega + 1, 2 * kMega, kMega, {}}), "");
  EXPECT_EQ(view.News({Stage::kBroken, 0, 2 * kMega, 0, absl::UnavailableError("gone")}),
            "the upload broke (gone); it goes on when the server is there\n");
  EXPECT_EQ(view.News({Stage::kSending, kMega, 2 * kMega, kMega, {}}),
            "goes on at 1.0 MB of 2.0 MB\n");
  EXPECT_EQ(view.News({Stage::kSending, 2 * kMega, 2 * kMega, 2 * kMega, {}}),
            "all 2.0 MB are there already\n");
}

}  // namespace
}  // namespace graft
