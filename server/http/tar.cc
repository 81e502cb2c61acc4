#include "server/http/tar.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"

namespace graft {
namespace {

// A header's fields: where they begin, and their bytes.
struct Field {
  size_t at;
  size_t size;
};
constexpr size_t kBlockBytes = 512;
constexpr Field kName = {0, 100};
constexpr Field kMode = {100, 8};
constexpr Field kOwner = {108, 8};
constexpr Field kGroup = {116, 8};
constexpr Field kSize = {124, 12};
constexpr Field kTime = {136, 12};
constexpr Field kChecksum = {148, 8};
constexpr Field kType = {156, 1};
constexpr Field kMagic = {257, 5};
constexpr Field kVersion = {263, 2};
constexpr Field kPrefix = {345, 155};
constexpr int64_t kMaxExtensionBytes = 64 * 1024;

absl::string_view Get(absl::string_view header, Field field) {
  const absl::string_view text = header.substr(field.at, field.size);
  return text.substr(0, text.find('\0'));
}

void Set(std::string& header, Field field, absl::string_view text) {
  header.replace(field.at, text.size(), text.data(), text.size());
}

// Of all bytes, those of the checksum itself counted as spaces.
int64_t ChecksumOf(absl::string_view header) {
  int64_t sum = kChecksum.size * ' ';
  for (size_t i = 0; i < kBlockBytes; ++i) {
    const bool own = i >= kChecksum.at && i < kChecksum.at + kChecksum.size;
    if (!own) sum += static_cast<unsigned char>(header[i]);
  }
  return sum;
}

bool ParseOctal(absl::string_view text, int64_t* value) {
  text = absl::StripSuffix(text, " ");
  while (absl::ConsumePrefix(&text, " ")) {
  }
  *value = 0;
  for (const char c : text) {
    if (c < '0' || c > '7') return false;
    *value = *value * 8 + (c - '0');
  }
  return !text.empty();
}

int64_t PaddingOf(int64_t size_bytes) {
  const int64_t block = kBlockBytes;
  return (block - size_bytes % block) % block;
}

absl::Status NoTar(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("the body is no tar: ", why));
}

}  // namespace

absl::StatusOr<std::string> TarHeader(absl::string_view path, int64_t size_bytes) {
  absl::string_view name = path;
  absl::string_view prefix;
  if (name.size() > kName.size) {
    const size_t slash = path.find('/', path.size() - kName.size - 1);
    if (slash == absl::string_view::npos || slash > kPrefix.size) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is too long a path for a tar"));
    }
    prefix = path.substr(0, slash);
    name = path.substr(slash + 1);
  }
  std::string header(kBlockBytes, '\0');
  Set(header, kName, name);
  Set(header, kMode, "0000644");
  Set(header, kOwner, "0000000");
  Set(header, kGroup, "0000000");
  Set(header, kSize, absl::StrFormat("%011o", size_bytes));
  Set(header, kTime, "00000000000");
  Set(header, kType, "0");
  Set(header, kMagic, "ustar");
  Set(header, kVersion, "00");
  Set(header, kPrefix, prefix);
  Set(header, kChecksum, absl::StrFormat("%06o%c ", ChecksumOf(header), '\0'));
  return header;
}

std::string TarPadding(int64_t size_bytes) { return std::string(PaddingOf(size_bytes), '\0'); }
std::string TarEnd() { return std::string(2 * kBlockBytes, '\0'); }

absl::Status TarReader::Read(absl::string_view bytes) {
  while (!bytes.empty() && !ended_) {
    if (left_ > 0) {
      const absl::string_view data = bytes.substr(0, left_);
      if (entry_ == Entry::kFile) on_data_(data);
      if (entry_ == Entry::kExtension) absl::StrAppend(&extension_, data);
      left_ -= static_cast<int64_t>(data.size());
      bytes.remove_prefix(data.size());
    } else if (padding_ > 0) {
      const size_t skipped = std::min<size_t>(padding_, bytes.size());
      padding_ -= static_cast<int64_t>(skipped);
      bytes.remove_prefix(skipped);
    } else {
      const absl::string_view part = bytes.substr(0, kBlockBytes - header_.size());
      absl::StrAppend(&header_, part);
      bytes.remove_prefix(part.size());
      if (header_.size() == kBlockBytes) RETURN_IF_ERROR(ReadHeader());
    }
  }
  return absl::OkStatus();
}

absl::Status TarReader::ReadHeader() {
  const std::string header = std::exchange(header_, "");
  if (header.find_first_not_of('\0') == std::string::npos) {
    ended_ = true;
    return absl::OkStatus();
  }
  int64_t checksum = 0;
  if (!ParseOctal(Get(header, kChecksum), &checksum) || checksum != ChecksumOf(header) ||
      Get(header, kMagic).substr(0, kMagic.size) != "ustar") {
    return NoTar("a header has another checksum, or is not POSIX's");
  }
  if (!ParseOctal(Get(header, kSize), &left_)) {
    return absl::InvalidArgumentError("the tar has a file of more than 8 GiB");
  }
  padding_ = PaddingOf(left_);
  const absl::string_view prefix = Get(header, kPrefix);
  std::string path = absl::StrCat(prefix, prefix.empty() ? "" : "/", Get(header, kName));
  path = std::string(absl::StripPrefix(path, "./"));
  const std::string extension = std::exchange(extension_, "");
  switch (header[kType.at]) {
    case '0':
    case '\0':
      // Times and owners stand there, too; those concern nobody here.
      if (absl::StrContains(extension, " path=") || absl::StrContains(extension, " size=")) {
        return absl::InvalidArgumentError(absl::StrCat("the path or the size of \"",
                                                       Shortened(path, kName.size),
                                                       "\" is too long for a plain header of tar"));
      }
      entry_ = Entry::kFile;
      on_file_(ToValidUtf8(path), left_);
      return absl::OkStatus();
    case 'x':
      if (left_ > kMaxExtensionBytes) return NoTar("a header's extension is too long");
      entry_ = Entry::kExtension;
      return absl::OkStatus();
    case '5':
    case 'g':
      entry_ = Entry::kOther;
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("the tar has \"", Shortened(path, kName.size),
                       "\", which is no file and no folder, or whose path is too long"));
  }
}

absl::Status TarReader::Finish() const {
  if (ended_) return absl::OkStatus();
  return NoTar("it ends too early");
}

}  // namespace graft
