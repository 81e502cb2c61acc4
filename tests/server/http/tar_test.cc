#include "server/http/tar.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace graft {
namespace {

using testing::ElementsAre;
using testing::Pair;

struct Unpacked {
  std::vector<std::pair<std::string, std::string>> files;
  absl::Status status;
};

// As it comes in pieces of so many bytes.
Unpacked Unpack(absl::string_view tar, size_t piece) {
  Unpacked unpacked;
  TarReader reader(
      [&](const std::string& path, int64_t) { unpacked.files.emplace_back(path, ""); },
      [&](absl::string_view data) { absl::StrAppend(&unpacked.files.back().second, data); });
  for (size_t at = 0; at < tar.size() && unpacked.status.ok(); at += piece) {
    unpacked.status = reader.Read(tar.substr(at, piece));
  }
  if (unpacked.status.ok()) unpacked.status = reader.Finish();
  return unpacked;
}

std::string Entry(absl::string_view path, absl::string_view data) {
  const auto size = static_cast<int64_t>(data.size());
  return absl::StrCat(*TarHeader(path, size), data, TarPadding(size));
}

TEST(TarTest, FilesComeOutAsTheyWentIn) {
  const std::string large(1000, 'x');
  const std::string tar =
      absl::StrCat(Entry("a.json", "{}"), Entry("./empty", ""), Entry("d/b", large), TarEnd());
  EXPECT_EQ(tar.size() % 512, 0u);
  for (const size_t piece : {1u, 7u, 512u, 100'000u}) {
    const Unpacked unpacked = Unpack(tar, piece);
    EXPECT_TRUE(unpacked.status.ok()) << unpacked.status;
    EXPECT_THAT(unpacked.files,
                ElementsAre(Pair("a.json", "{}"), Pair("empty", ""), Pair("d/b", large)));
  }
}

TEST(TarTest, LongPathsArePartedAtASlash) {
  const std::string path = absl::StrCat(std::string(90, 'a'), "/", std::string(90, 'b'));
  EXPECT_THAT(Unpack(absl::StrCat(Entry(path, "x"), TarEnd()), 512).files,
              ElementsAre(Pair(path, "x")));
  EXPECT_EQ(TarHeader(std::string(120, 'a'), 1).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(TarTest, WhatIsNoneIsRefused) {
  const std::string whole = absl::StrCat(Entry("a", "123"), TarEnd());
  std::string damaged = whole;
  damaged[0] = 'b';  // Of the name: the checksum is another.
  std::string link = whole;
  link[156] = '2';
  for (const std::string& bad :
       {std::string(), std::string(512, 'x'), damaged, link, whole.substr(0, 514),
        whole.substr(0, 100), whole.substr(0, 1024)}) {
    EXPECT_EQ(Unpack(bad, 512).status.code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace graft
