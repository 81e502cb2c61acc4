#pragma once

#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "common/base/file.h"
#include "gtest/gtest.h"

namespace graft {

// A directory of its own for one test, removed at its end.
class TempDir {
 public:
  TempDir() : path_(JoinPath(::testing::TempDir(), "graft-test-XXXXXX")) {
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
