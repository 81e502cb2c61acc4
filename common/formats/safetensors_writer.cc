#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/formats/safetensors.h"

namespace graft {
namespace {

// A JSON text in quotes, escaped as serde_json does: controls, quotes and backslashes only.
absl::StatusOr<std::string> JsonText(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("a tensor name or metadata text is not valid UTF-8");
  }
}

absl::StatusOr<std::string> MetadataJson(const SafetensorsMetadata& metadata) {
  std::vector<std::string> members;
  for (const auto& [key, value] : metadata) {
    ASSIGN_OR_RETURN(const std::string key_text, JsonText(key));
    ASSIGN_OR_RETURN(const std::string value_text, JsonText(value));
    members.push_back(absl::StrCat(key_text, ":", value_text));
  }
  return absl::StrCat("\"__metadata__\":{", absl::StrJoin(members, ","), "}");
}

absl::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

void SortForSafetensors(std::vector<TensorInfo>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
}

absl::StatusOr<std::string> MakeSafetensorsHeader(const std::vector<TensorInfo>& sorted,
                                                  const SafetensorsMetadata& metadata) {
  std::vector<std::string> members;
  if (!metadata.empty()) {
    ASSIGN_OR_RETURN(std::string member, MetadataJson(metadata));
    members.push_back(std::move(member));
  }
  absl::flat_hash_set<absl::string_view> names;
  int64_t position = 0;
  for (const TensorInfo& tensor : sorted) {
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", tensor.name, "': the name is taken"));
    }
    absl::StatusOr<int64_t> size = TensorSizeBytes(tensor.dtype, tensor.shape);
    if (!size.ok()) return Annotate(size.status(), absl::StrCat("tensor '", tensor.name, "'"));
    ASSIGN_OR_RETURN(const std::string name, JsonText(tensor.name));
    int64_t end = 0;
    if (__builtin_add_overflow(position, *size, &end)) {
      return absl::InvalidArgumentError("the tensors together are over 2^63 bytes");
    }
    members.push_back(absl::StrCat(name, ":{\"dtype\":\"", DTypeName(tensor.dtype),
                                   "\",\"shape\":[", absl::StrJoin(tensor.shape, ","),
                                   "],\"data_offsets\":[", position, ",", end, "]}"));
    position = end;
  }
  std::string json = absl::StrCat("{", absl::StrJoin(members, ","), "}");
  json.append((8 - json.size() % 8) % 8, ' ');
  if (json.size() > static_cast<size_t>(kMaxSafetensorsHeaderBytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a safetensors header of ", json.size(), " bytes is over the format's limit"));
  }
  std::string header;
  for (int shift = 0; shift < 64; shift += 8) {
    header.push_back(static_cast<char>(static_cast<uint64_t>(json.size()) >> shift & 0xff));
  }
  return header + json;
}

absl::Status WriteSafetensors(std::vector<TensorInfo> tensors, const SafetensorsMetadata& metadata,
                              TensorSource source, ByteSink sink) {
  SortForSafetensors(tensors);
  ASSIGN_OR_RETURN(const std::string header, MakeSafetensorsHeader(tensors, metadata));
  RETURN_IF_ERROR(sink(header));
  for (const TensorInfo& tensor : tensors) {
    absl::StatusOr<std::span<const std::byte>> bytes = source(tensor);
    if (!bytes.ok()) return Annotate(bytes.status(), absl::StrCat("tensor '", tensor.name, "'"));
    ASSIGN_OR_RETURN(const int64_t size, TensorSizeBytes(tensor.dtype, tensor.shape));
    if (static_cast<int64_t>(bytes->size()) != size) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", tensor.name, "': ", bytes->size(), " bytes given, but ",
                       DTypeName(tensor.dtype), " ", ShapeText(tensor.shape), " takes ", size));
    }
    RETURN_IF_ERROR(sink(AsText(*bytes)));
  }
  return absl::OkStatus();
}

absl::Status WriteSafetensorsFile(const std::string& path, const std::vector<TensorView>& tensors,
                                  const SafetensorsMetadata& metadata) {
  absl::flat_hash_map<absl::string_view, std::span<const std::byte>> bytes;
  std::vector<TensorInfo> infos;
  for (const TensorView& tensor : tensors) {
    bytes[tensor.name] = tensor.bytes;
    infos.push_back(tensor);
  }
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  const absl::Status status = WriteSafetensors(
      std::move(infos), metadata,
      [&](const TensorInfo& tensor) -> absl::StatusOr<std::span<const std::byte>> {
        return bytes[tensor.name];
      },
      [&](absl::string_view piece) { return file.Append(piece); });
  if (!status.ok()) return Annotate(status, path);
  return file.Commit();
}

}  // namespace graft
