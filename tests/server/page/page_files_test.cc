#include "server/page/page_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace graft {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

std::string Read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(PageFilesTest, AreThoseOfTheTreeByteForByteAndTheSpec) {
  std::map<std::string, std::string> tree;
  const fs::path root = fs::path(GRAFT_SOURCE_DIR) / "server/page/files";
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) tree[fs::relative(entry, root)] = Read(entry);
  }
  tree["spec.proto"] = Read(fs::path(GRAFT_SOURCE_DIR) / "proto/graft/v1/spec.proto");
  std::map<std::string, std::string> embedded;
  for (const PageFile& file : PageFiles()) {
    embedded[std::string(file.path)] = std::string(file.bytes);
  }
  EXPECT_EQ(embedded, tree);
}

TEST(PageFilesTest, AreFoundByTheirPathsAndNothingElseIs) {
  ASSERT_NE(FindPageFile("/"), nullptr);
  EXPECT_EQ(FindPageFile("/")->path, "index.html");
  ASSERT_NE(FindPageFile("/page/views/jobs.js"), nullptr);
  EXPECT_EQ(FindPageFile("/page/views/jobs.js")->path, "views/jobs.js");
  for (const char* path : {"", "/page", "/page/", "/page/views", "/page/../page/app.js", "/app.js",
                           "/page/App.js", "/page//app.js", "page/app.js"}) {
    EXPECT_EQ(FindPageFile(path), nullptr) << path;
  }
}

TEST(PageFilesTest, HaveATypeAndATagOfTheirOwn) {
  std::set<absl::string_view> tags;
  for (const PageFile& file : PageFiles()) tags.insert(file.etag);
  EXPECT_EQ(tags.size(), PageFiles().size());
  EXPECT_EQ(FindPageFile("/")->etag.size(), 18u);
  const std::map<std::string, std::string> types = {
      {"/", "text/html; charset=utf-8"},
      {"/page/app.js", "text/javascript; charset=utf-8"},
      {"/page/page.css", "text/css; charset=utf-8"},
      {"/page/icon.svg", "image/svg+xml"},
      {"/page/vendor/uplot.LICENSE.txt", "text/plain; charset=utf-8"}};
  for (const auto& [path, type] : types) {
    EXPECT_EQ(MediaTypeOf(*FindPageFile(path)), type) << path;
  }
}

// What the page's policy forbids would only be seen in a browser.
TEST(PageFilesTest, TakeNothingFromElsewhereAndNothingInline) {
  EXPECT_THAT(PageHeaders(),
              Contains(Pair("Content-Security-Policy",
                            AllOf(HasSubstr("default-src 'self'"), Not(HasSubstr("unsafe"))))));
  const std::string index(FindPageFile("/")->bytes);
  const std::regex reference(R"((src|href)=\"([^\"]*)\")");
  for (std::sregex_iterator at(index.begin(), index.end(), reference), end; at != end; ++at) {
    const std::string target = (*at)[2];
    EXPECT_TRUE(absl::StartsWith(target, "#") || FindPageFile(target) != nullptr) << target;
  }
  EXPECT_FALSE(std::regex_search(index, std::regex(R"(<style|\sstyle=|\son\w+=|<script>)")));
  for (const PageFile& file : PageFiles()) {
    if (!absl::EndsWith(file.path, ".js")) continue;
    EXPECT_THAT(std::string(file.bytes),
                AllOf(Not(HasSubstr("innerHTML")), Not(HasSubstr("insertAdjacentHTML")),
                      Not(HasSubstr("document.write")), Not(HasSubstr("eval("))))
        << file.path;
  }
}

TEST(PageFilesTest, EveryModuleThatIsImportedIsThere) {
  const std::regex import(R"(from \"([^\"]*)\")");
  for (const PageFile& file : PageFiles()) {
    if (!absl::EndsWith(file.path, ".js") || absl::StartsWith(file.path, "vendor/")) continue;
    const std::string text(file.bytes);
    const fs::path folder = fs::path(absl::StrCat("/page/", file.path)).parent_path();
    for (std::sregex_iterator at(text.begin(), text.end(), import), end; at != end; ++at) {
      const fs::path target = (folder / (*at)[1].str()).lexically_normal();
      EXPECT_NE(FindPageFile(target.string()), nullptr) << file.path << " imports " << target;
    }
  }
}

}  // namespace
}  // namespace graft
