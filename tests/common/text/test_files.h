#pragma once

// Where the tests of common/text find their data, and a folder for files that they write.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace graft {

// A committed file of tests/golden/text.
inline std::string GoldenPath(const std::string& name) {
  return absl::StrCat(GRAFT_SOURCE_DIR, "/tests/golden/text/", name);
}

// A file of the shared real data, which need not be there: tests that use it skip then.
inline std::string SharedDataPath(const std::string& name) {
  const char* folder = std::getenv("GRAFT_SHARED_DATA");
  return absl::StrCat(folder ? folder : GRAFT_SOURCE_DIR "/../shared/data", "/", name);
}

#define SKIP_WITHOUT(path) \
  if (!FileExists(path)) GTEST_SKIP() << (path) << " is not there (GRAFT_SHARED_DATA)"

inline std::string ReadWhole(const std::string& path) {
  absl::StatusOr<std::string> content = ReadFile(path, 64 << 20);
  EXPECT_TRUE(content.ok()) << content.status();
  return content.ok() ? *std::move(content) : std::string();
}

inline nlohmann::json ReadJson(const std::string& path) {
  return nlohmann::json::parse(ReadWhole(path));
}

// A new empty folder that is removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = testing::TempDir() + "/graft_text_XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  // Writes a file and returns its path.
  std::string Write(const std::string& name, const std::string& content) const {
    const std::string path = JoinPath(path_, name);
    EXPECT_TRUE(WriteFileAtomically(path, content).ok());
    return path;
  }

 private:
  std::string path_;
};

}  // namespace graft
