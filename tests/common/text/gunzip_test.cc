#include "common/text/gunzip.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include "common/base/status_macros.h"
#include "common/text/data_reader.h"
#include "tests/common/text/packed.h"
#include "tests/common/text/test_files.h"

namespace graft {
namespace {

using testing::HasSubstr;

// All that comes out, in pieces of a few bytes.
absl::StatusOr<std::string> ReadUnpacked(const std::string& bytes,
                                         int64_t max_bytes = kMaxUnpackedBytes) {
  const auto source = Unpacked(
      [bytes](int64_t offset, absl::Span<char> buffer) -> absl::StatusOr<size_t> {
        return absl::string_view(bytes).substr(offset).copy(buffer.data(), buffer.size());
      },
      max_bytes);
  std::string all;
  char piece[1000];
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count,
                     source(static_cast<int64_t>(all.size()), absl::MakeSpan(piece)));
    all.append(piece, count);
    if (count < sizeof(piece)) return all;
  }
}

std::string Numbers(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, i * 7919 % 10007, "\n");
  return text;
}

TEST(GunzipTest, PlainBytesPassAndPackedOnesAreUnpacked) {
  for (const int count : {0, 1, 100'000}) {
    EXPECT_EQ(*ReadUnpacked(Numbers(count)), Numbers(count));
    EXPECT_EQ(*ReadUnpacked(Gzip(Numbers(count))), Numbers(count));
  }
  EXPECT_EQ(*ReadUnpacked("\x1F"), "\x1F");
}

TEST(GunzipTest, EveryMemberCountsAndZerosBehindThemDoNot) {
  EXPECT_EQ(*ReadUnpacked(Gzip("one\n") + Gzip("") + Gzip("two\n") + std::string(512, '\0')),
            "one\ntwo\n");
}

TEST(GunzipTest, WhatIsCutOffOrBrokenIsNamedWithItsByte) {
  const std::string packed = Gzip(Numbers(1000));
  const auto cut = ReadUnpacked(packed.substr(0, packed.size() - 3));
  EXPECT_EQ(cut.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(cut.status().message()),
              HasSubstr(absl::StrCat("it was cut off, at its byte ", packed.size() - 2)));
  std::string broken = packed;
  broken[packed.size() / 2] ^= 0x55;
  EXPECT_THAT(std::string(ReadUnpacked(broken).status().message()), HasSubstr("is broken"));
  EXPECT_THAT(std::string(ReadUnpacked(Gzip("one\n") + "two\n").status().message()),
              HasSubstr("something behind it that is no gzip"));
}

TEST(GunzipTest, ABombIsRefused) {
  const std::string bomb = Gzip(std::string(1'000'000, '\n'));
  EXPECT_EQ(ReadUnpacked(bomb, 1'000'000)->size(), 1'000'000u);
  const auto refused = ReadUnpacked(bomb, 999'999);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("more than 999999 bytes"));
}

TEST(GunzipTest, APackedDataSetIsReadLikeAnother) {
  const TemporaryFolder folder;
  const DataFields fields = {.text_field = "text"};
  DataRow row;
  auto reader = DataReader::Open(folder.Write("a.csv.gz", Gzip("text\n\"{\"\n")), fields);
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_TRUE(*reader->Next(&row));
  EXPECT_EQ(row.source, "{");
  // An engine knows no name.
  reader = DataReader::Open(folder.Write("blob", Gzip("{\"text\": \"a\"}\n")), fields);
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_TRUE(*reader->Next(&row));
  EXPECT_EQ(row.source, "a");
  EXPECT_FALSE(*reader->Next(&row));
}

}  // namespace
}  // namespace graft
