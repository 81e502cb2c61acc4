// A safetensors file: what is accepted lies inside the file, tensor by tensor and without gaps.

#include "common/formats/safetensors.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
  const absl::StatusOr<graft::SafetensorsFile> file = graft::SafetensorsFile::Parse(bytes);
  if (!file.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(file.status()));
    return 0;
  }
  size_t used = 0;
  for (const graft::TensorView& view : file->tensors()) {
    FUZZ_CHECK(file->Find(view.name) == &view);
    FUZZ_CHECK(view.bytes.empty() ||
               (view.bytes.data() >= bytes.data() &&
                view.bytes.data() + view.bytes.size() <= bytes.data() + bytes.size()));
    used += view.bytes.size();
  }
  FUZZ_CHECK(used + 8 <= size);
  return 0;
}
