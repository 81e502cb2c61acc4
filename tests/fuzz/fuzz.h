#pragma once

// What the fuzz targets share. A target is one function; libFuzzer calls it with bytes that it
// makes up from a corpus. Nothing that comes out of them may crash, hang, leak or read out of
// bounds, and what a target checks itself must hold.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

// Ends the process with a message when a property does not hold; libFuzzer then keeps the input.
#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

namespace graft {

inline std::string_view TextOf(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// An input that stands for several files has them one after the other, with this line between.
inline constexpr std::string_view kPartEnd = "\n=====\n";

// Exactly `count` parts; missing ones are empty, and the last has what is left.
inline std::vector<std::string_view> PartsOf(std::string_view input, size_t count) {
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < count) {
    const size_t end = input.find(kPartEnd);
    parts.push_back(input.substr(0, end));
    input =
        end == std::string_view::npos ? std::string_view() : input.substr(end + kPartEnd.size());
  }
  parts.push_back(input);
  return parts;
}

// A folder of this process whose files each input replaces.
class InputFolder {
 public:
  InputFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "graft-fuzz-XXXXXX").string();
    FUZZ_CHECK(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~InputFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

  void Clear() const {
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      std::filesystem::remove_all(entry);
    }
  }
  void Write(const std::string& name, std::string_view content) const {
    std::ofstream file(path_ + "/" + name, std::ios::binary | std::ios::trunc);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    FUZZ_CHECK(file.good());
  }

 private:
  std::string path_;
};

}  // namespace graft

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
