#include "common/formats/safetensors_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace graft {

absl::StatusOr<SafetensorsStream> SafetensorsStream::Create(std::vector<TensorInfo> tensors,
                                                            const SafetensorsMetadata& metadata,
                                                            ElementSource source) {
  SafetensorsStream stream;
  SortForSafetensors(tensors);
  ASSIGN_OR_RETURN(stream.header_, MakeSafetensorsHeader(tensors, metadata));
  stream.size_bytes_ = static_cast<int64_t>(stream.header_.size());
  for (const TensorInfo& tensor : tensors) {
    ASSIGN_OR_RETURN(const int64_t size, TensorSizeBytes(tensor.dtype, tensor.shape));
    stream.size_bytes_ += size;
  }
  stream.tensors_ = std::move(tensors);
  stream.source_ = std::move(source);
  return stream;
}

absl::StatusOr<std::string> SafetensorsStream::Next(int64_t max_bytes) {
  if (!header_.empty()) return std::exchange(header_, "");
  while (index_ < tensors_.size()) {
    const TensorInfo& tensor = tensors_[index_];
    const int64_t item_size = ItemSizeBytes(tensor.dtype);
    ASSIGN_OR_RETURN(const int64_t size, TensorSizeBytes(tensor.dtype, tensor.shape));
    const int64_t count = std::min(size / item_size - element_, max_bytes / item_size);
    if (count == 0) {
      ++index_;
      element_ = 0;
      continue;
    }
    std::string bytes;
    const absl::Status status = source_(tensor, element_, count, bytes);
    if (!status.ok()) return Annotate(status, absl::StrCat("tensor '", tensor.name, "'"));
    element_ += count;
    return bytes;
  }
  return std::string();
}

}  // namespace graft
