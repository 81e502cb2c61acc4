#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/formats/safetensors.h"

namespace graft {

// A safetensors file that is made while it is read, a piece at a time: what it costs is a piece,
// whatever the size of the tensors. One thread at a time.
class SafetensorsStream {
 public:
  // Appends the bytes of `count` elements of a tensor (laid flat), from `first` on. Asked for all
  // of them in their order.
  using ElementSource = std::function<absl::Status(const TensorInfo& tensor, int64_t first,
                                                   int64_t count, std::string& bytes)>;

  // INVALID_ARGUMENT: what MakeSafetensorsHeader refuses.
  static absl::StatusOr<SafetensorsStream> Create(std::vector<TensorInfo> tensors,
                                                  const SafetensorsMetadata& metadata,
                                                  ElementSource source);

  // Of the whole file.
  int64_t size_bytes() const { return size_bytes_; }

  // The next bytes, at most `max_bytes` (8 or more, except that the header comes whole); empty at
  // the end. Errors of the source, the tensor named.
  absl::StatusOr<std::string> Next(int64_t max_bytes);

 private:
  SafetensorsStream() = default;

  std::vector<TensorInfo> tensors_;  // In the order of the file.
  ElementSource source_;
  std::string header_;  // Empty once it was read.
  int64_t size_bytes_ = 0;
  size_t index_ = 0;
  int64_t element_ = 0;  // Of the tensor at index_.
};

}  // namespace graft
