#pragma once

// The safetensors file format (github.com/huggingface/safetensors): 8 bytes length of the header,
// little-endian; the header, JSON; the tensors' bytes without gaps. Reading trusts nothing: a file
// from outside may be hostile. Writing gives exactly the bytes of the original library (safetensors
// 0.8.0, as PEFT and transformers call it).

#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mapped_file.h"
#include "common/formats/tensor_view.h"

namespace graft {

inline constexpr int64_t kMaxSafetensorsHeaderBytes =
    100'000'000;  // the original library's own limit
inline constexpr int kMaxTensorRank = 16;

// The entry `__metadata__`. PEFT and transformers write {"format": "pt"}; keys are written in byte
// order.
using SafetensorsMetadata = std::map<std::string, std::string>;
inline const SafetensorsMetadata kPyTorchMetadata = {{"format", "pt"}};

// ---- Reading
// --------------------------------------------------------------------------------------------------------------

struct SafetensorsEntry : TensorInfo {
  int64_t begin = 0;  // relative to the first byte after the header
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their bytes
  SafetensorsMetadata metadata;
  int64_t data_begin =
      0;  // 8 + length of the JSON text: where the tensors' bytes start in the file
};

// Parses and checks the beginning of a file of `file_size` bytes. `prefix` holds at least the
// header (SafetensorsHeaderSize says how many bytes that takes). INVALID_ARGUMENT, naming the
// tensor where there is one: header shorter, longer or larger than allowed, not UTF-8, not JSON,
// unknown fields, a name twice, unknown dtype, rank over kMaxTensorRank, end before begin, size
// other than shape × dtype, overlaps, holes, bytes missing or left over.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> prefix,
                                                         int64_t file_size);

// Bytes of length field and header together, from the first 8 bytes of a file of `file_size` bytes.
// INVALID_ARGUMENT when that cannot be.
absl::StatusOr<int64_t> SafetensorsHeaderSize(std::span<const std::byte> first_bytes,
                                              int64_t file_size);

// An open file. Immutable, thread-safe; the views point into the mapping and live as long as this.
class SafetensorsFile {
 public:
  // INVALID_ARGUMENT as above, with the path; codes of common/base/file.h.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);
  // Over bytes that outlive it.
  static absl::StatusOr<SafetensorsFile> Parse(std::span<const std::byte> file);

  const std::vector<TensorView>& tensors() const { return tensors_; }  // in the order of the file
  const SafetensorsMetadata& metadata() const { return metadata_; }
  // nullptr when there is none of that name.
  const TensorView* Find(absl::string_view name) const;
  // As MappedFile::ReleasePages; nothing happens after Parse.
  void ReleasePages() const { mapping_.ReleasePages(); }

 private:
  MappedFile mapping_;
  SafetensorsMetadata metadata_;
  std::vector<TensorView> tensors_;
  absl::flat_hash_map<std::string, size_t> index_;
};

// ---- Writing
// --------------------------------------------------------------------------------------------------------------

// Puts tensors into the order in which a file holds them: by dtype (U64 I64 F64 F32 U32 I32 BF16
// F16 … U8 BOOL), then by name in byte order (h.10 before h.2).
void SortForSafetensors(std::vector<TensorInfo>& tensors);

// Length field and header, padded with spaces to a multiple of 8, for tensors that are already
// sorted. INVALID_ARGUMENT for a name twice, the name "__metadata__", invalid UTF-8, an impossible
// shape or a header over the limit.
absl::StatusOr<std::string> MakeSafetensorsHeader(const std::vector<TensorInfo>& sorted,
                                                  const SafetensorsMetadata& metadata);

// Gives a tensor's bytes; they are used before the next call, so one buffer may serve for all.
using TensorSource =
    absl::FunctionRef<absl::StatusOr<std::span<const std::byte>>(const TensorInfo&)>;
// Takes the next bytes of the file: an AtomicFile, a blob writer, a hash.
using ByteSink = absl::FunctionRef<absl::Status(absl::string_view)>;

// Streams a whole file into `sink`: one tensor at a time, nothing is copied. `source` is called
// once a tensor in the order of SortForSafetensors. Errors of both are passed on, the tensor named;
// INVALID_ARGUMENT as MakeSafetensorsHeader, and when the bytes do not fit the shape.
absl::Status WriteSafetensors(std::vector<TensorInfo> tensors, const SafetensorsMetadata& metadata,
                              TensorSource source, ByteSink sink);

// The same from views, to a file that appears whole or not at all.
absl::Status WriteSafetensorsFile(const std::string& path, const std::vector<TensorView>& tensors,
                                  const SafetensorsMetadata& metadata = kPyTorchMetadata);

}  // namespace graft
