#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/file.h"
#include "gtest/gtest.h"

namespace graft {

// A directory whose syncs cost nothing, where there is one: for cases that are not about the disk.
inline std::string FastDirectory() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : ::testing::TempDir();
}

// A directory of its own for one test, below `parent`, removed at its end.
class TempDir {
 public:
  explicit TempDir(const std::string& parent = ::testing::TempDir())
      : path_(JoinPath(parent, "graft-test-XXXXXX")) {
    if (::mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~TempDir() { EXPECT_TRUE(RemoveTree(path_).ok()); }
  const std::string& path() const { return path_; }
  std::string Path(absl::string_view name) const { return JoinPath(path_, name); }

 private:
  std::string path_;
};

// A file of the real data, by its path below the data folder; "" when that is not there.
inline std::string SharedData(absl::string_view path) {
  const char* folder = std::getenv("GRAFT_SHARED_DATA");
  const std::string full = JoinPath(
      folder != nullptr ? std::string(folder) : JoinPath(GRAFT_SOURCE_DIR, "../shared/data"), path);
  return FileExists(full) || DirectoryExists(full) ? full : "";
}

}  // namespace graft
