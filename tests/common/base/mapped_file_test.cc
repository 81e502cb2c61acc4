#include "common/base/mapped_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <numeric>
#include <vector>

#include "common/base/file.h"
#include "gtest/gtest.h"
#include "tests/fakes/temp_dir.h"

namespace graft {
namespace {

// Pages of the file that count as this process's.
int64_t ResidentPages(const MappedFile& file) {
  const UniqueFd pagemap = *OpenFile("/proc/self/pagemap", O_RDONLY);
  const auto page = static_cast<uint64_t>(getpagesize());
  int64_t resident = 0;
  for (size_t at = 0; at < file.bytes().size(); at += page) {
    uint64_t entry = 0;
    const auto number = reinterpret_cast<uint64_t>(file.bytes().data() + at) / page;
    EXPECT_EQ(pread(pagemap.get(), &entry, sizeof(entry), static_cast<off_t>(number * 8)), 8);
    resident += static_cast<int64_t>(entry >> 63);
  }
  return resident;
}

int Sum(const MappedFile& file) {
  return std::accumulate(file.bytes().begin(), file.bytes().end(), 0,
                         [](int sum, std::byte byte) { return sum + static_cast<int>(byte); });
}

TEST(MappedFileTest, ReleasedPagesAreReadAgain) {
  const TempDir directory;
  const std::string path = directory.Path("file");
  ASSERT_TRUE(WriteFileAtomically(path, std::string(1 << 20, '\x01')).ok());
  const MappedFile file = *MappedFile::Open(path);
  EXPECT_EQ(Sum(file), 1 << 20);
  EXPECT_GT(ResidentPages(file), 0);
  file.ReleasePages();
  EXPECT_EQ(ResidentPages(file), 0);
  EXPECT_EQ(Sum(file), 1 << 20);
}

}  // namespace
}  // namespace graft
