#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/formats/safetensors.h"

namespace graft {
namespace {

constexpr int64_t kLengthBytes = 8;

// Names come from outside: short and printable in messages.
std::string Quoted(absl::string_view name) {
  return absl::StrCat("'", absl::Utf8SafeCEscape(Shortened(name, 200)), "'");
}

absl::Status TensorError(absl::string_view name, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), ": ", problem));
}

// Takes the header apart as it is parsed, without a tree in between: a hostile header of 100 MB
// costs little more than its own size, and a name given twice is seen.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(SafetensorsHeader& header) : header_(header) {}
  const absl::Status& status() const { return status_; }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("true or false"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return Unexpected("a number that is no 64-bit integer");
  }
  bool binary(binary_t&) override { return Unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (where_ != Where::kShape && where_ != Where::kOffsets) return Unexpected("a number");
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Unexpected("a number over 2^63 - 1");
    }
    if (where_ == Where::kShape) {
      if (entry_.shape.size() == static_cast<size_t>(kMaxTensorRank)) {
        return Fail(
            TensorError(entry_.name, absl::StrCat("more than ", kMaxTensorRank, " dimensions")));
      }
      entry_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (offset_count_ == 2) return Fail(TensorError(entry_.name, "data_offsets are two numbers"));
    (offset_count_++ == 0 ? entry_.begin : entry_.end) = static_cast<int64_t>(value);
    return true;
  }

  bool string(string_t& value) override {
    if (where_ == Where::kMetadata) {
      header_.metadata[key_] = value;
      return true;
    }
    if (where_ != Where::kTensor || key_ != "dtype") return Unexpected("a text");
    absl::StatusOr<DType> dtype = ParseDType(value);
    if (!dtype.ok())
      return Fail(TensorError(entry_.name, absl::CHexEscape(dtype.status().message())));
    entry_.dtype = *dtype;
    return true;
  }

  bool start_object(size_t) override {
    switch (where_) {
      case Where::kStart:
        where_ = Where::kRoot;
        return true;
      case Where::kRoot:
        if (key_ == "__metadata__") {
          where_ = Where::kMetadata;
          return true;
        }
        where_ = Where::kTensor;
        entry_ = SafetensorsEntry();
        entry_.name = key_;
        seen_ = 0;
        offset_count_ = 0;
        return true;
      default:
        return Unexpected("an object");
    }
  }

  bool key(string_t& key) override {
    if (where_ == Where::kRoot && !names_.insert(key).second) {
      return Fail(TensorError(key, "the name is there twice"));
    }
    if (where_ == Where::kMetadata && header_.metadata.contains(key)) {
      return Fail(absl::InvalidArgumentError(
          absl::StrCat("__metadata__ has the key ", Quoted(key), " twice")));
    }
    if (where_ == Where::kTensor) {
      const int field = key == "dtype" ? 1 : key == "shape" ? 2 : key == "data_offsets" ? 4 : 0;
      if (field == 0) {
        return Fail(TensorError(
            entry_.name,
            absl::StrCat("unknown field ", Quoted(key), "; there are dtype, shape, data_offsets")));
      }
      if ((seen_ & field) != 0) {
        return Fail(TensorError(entry_.name, absl::StrCat("the field ", key, " is there twice")));
      }
      seen_ |= field;
    }
    key_ = std::move(key);
    return true;
  }

  bool end_object() override {
    if (where_ == Where::kRoot) {
      where_ = Where::kDone;
    } else if (where_ == Where::kMetadata) {
      where_ = Where::kRoot;
    } else {
      if (seen_ != 7 || offset_count_ != 2) {
        return Fail(TensorError(entry_.name, "needs dtype, shape and two data_offsets"));
      }
      header_.entries.push_back(std::move(entry_));
      where_ = Where::kRoot;
    }
    return true;
  }

  bool start_array(size_t) override {
    if (where_ == Where::kTensor && (key_ == "shape" || key_ == "data_offsets")) {
      where_ = key_ == "shape" ? Where::kShape : Where::kOffsets;
      return true;
    }
    return Unexpected("a list");
  }

  bool end_array() override {
    where_ = Where::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    return Fail(absl::InvalidArgumentError(
        absl::StrCat("the header is not valid JSON in UTF-8 at its byte ", position)));
  }

 private:
  enum class Where { kStart, kRoot, kMetadata, kTensor, kShape, kOffsets, kDone };

  bool Fail(absl::Status status) {
    status_ = std::move(status);
    return false;
  }
  bool Unexpected(absl::string_view what) {
    if (where_ == Where::kStart) {
      return Fail(absl::InvalidArgumentError("the header is not a JSON object"));
    }
    if (where_ == Where::kMetadata || (where_ == Where::kRoot && key_ == "__metadata__")) {
      return Fail(
          absl::InvalidArgumentError(absl::StrCat("__metadata__ holds texts by name, not ", what)));
    }
    return Fail(TensorError(where_ == Where::kRoot ? key_ : entry_.name,
                            absl::StrCat(what, " where none belongs")));
  }

  SafetensorsHeader& header_;
  absl::Status status_;
  Where where_ = Where::kStart;
  std::string key_;
  SafetensorsEntry entry_;
  int seen_ = 0;  // bits: dtype, shape, data_offsets
  int offset_count_ = 0;
  absl::flat_hash_set<std::string> names_;
};

absl::Status CheckLayout(std::vector<SafetensorsEntry>& entries, int64_t data_size) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t position = 0;
  for (const SafetensorsEntry& entry : entries) {
    const std::string offsets = absl::StrCat("data_offsets [", entry.begin, ", ", entry.end, "]");
    if (entry.end < entry.begin)
      return TensorError(entry.name, absl::StrCat(offsets, " run backwards"));
    absl::StatusOr<int64_t> size = TensorSizeBytes(entry.dtype, entry.shape);
    if (!size.ok()) return TensorError(entry.name, size.status().message());
    if (entry.end - entry.begin != *size) {
      return TensorError(entry.name, absl::StrCat(offsets, " are ", entry.end - entry.begin,
                                                  " bytes, but ", DTypeName(entry.dtype), " ",
                                                  ShapeText(entry.shape), " takes ", *size));
    }
    if (entry.begin != position) {
      return TensorError(
          entry.name,
          absl::StrCat(offsets, entry.begin < position ? " overlap" : " leave a hole after",
                       " the tensor before, which ends at ", position));
    }
    if (entry.end > data_size) {
      return TensorError(entry.name, absl::StrCat(offsets, " go beyond the file, which has ",
                                                  data_size, " bytes of data: is it truncated?"));
    }
    position = entry.end;
  }
  if (position != data_size) {
    return absl::InvalidArgumentError(absl::StrCat("the tensors end at byte ", position,
                                                   " of the data, the file at byte ", data_size));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> SafetensorsHeaderSize(std::span<const std::byte> first_bytes,
                                              int64_t file_size) {
  if (file_size < kLengthBytes || first_bytes.size() < static_cast<size_t>(kLengthBytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("no safetensors file: ", file_size, " bytes are too few"));
  }
  uint64_t length = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) {
    length = length << 8 | std::to_integer<uint64_t>(first_bytes[static_cast<size_t>(i)]);
  }
  if (length > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("no safetensors file, or a hostile one: a header of ", length,
                     " bytes; at most ", kMaxSafetensorsHeaderBytes, " are allowed"));
  }
  if (static_cast<int64_t>(length) > file_size - kLengthBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header says ", length, " bytes, the file has ", file_size - kLengthBytes,
                     " after the length: is it truncated?"));
  }
  return kLengthBytes + static_cast<int64_t>(length);
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> prefix,
                                                         int64_t file_size) {
  SafetensorsHeader header;
  ASSIGN_OR_RETURN(header.data_begin, SafetensorsHeaderSize(prefix, file_size));
  if (static_cast<int64_t>(prefix.size()) < header.data_begin) {
    return absl::InvalidArgumentError("the prefix does not hold the header");
  }
  const char* json = reinterpret_cast<const char*>(prefix.data()) + kLengthBytes;
  const char* json_end = json + (header.data_begin - kLengthBytes);
  if (json == json_end || *json != '{') {
    return absl::InvalidArgumentError("no safetensors file: the header does not begin with {");
  }
  // The JSON parser takes a zero byte for the end of its input and would not see what follows.
  if (std::find(json, json_end, '\0') != json_end) {
    return absl::InvalidArgumentError("the header is not valid JSON: it holds a zero byte");
  }
  HeaderHandler handler(header);
  if (!nlohmann::json::sax_parse(json, json_end, &handler)) return handler.status();
  RETURN_IF_ERROR(CheckLayout(header.entries, file_size - header.data_begin));
  return header;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Parse(std::span<const std::byte> file) {
  ASSIGN_OR_RETURN(SafetensorsHeader header,
                   ParseSafetensorsHeader(file, static_cast<int64_t>(file.size())));
  SafetensorsFile result;
  result.metadata_ = std::move(header.metadata);
  result.tensors_.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    result.index_.emplace(entry.name, result.tensors_.size());
    TensorView view;
    view.bytes = file.subspan(static_cast<size_t>(header.data_begin + entry.begin),
                              static_cast<size_t>(entry.end - entry.begin));
    static_cast<TensorInfo&>(view) = std::move(entry);
    result.tensors_.push_back(std::move(view));
  }
  return result;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
  absl::StatusOr<SafetensorsFile> file = Parse(mapping.bytes());
  if (!file.ok()) return Annotate(file.status(), path);
  file->mapping_ = std::move(mapping);
  return file;
}

const TensorView* SafetensorsFile::Find(absl::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace graft
