#include "server/catalogue/file_upload.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/limits.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/errors/status_details.h"

namespace graft {
namespace {

absl::Status CheckAnnounced(const AnnouncedFile& file) {
  Violations violations;
  const auto add = [&](absl::string_view name, absl::string_view description) {
    violations.Add(absl::StrCat(file.field, ".", name), description);
  };
  const bool hashed = !file.sha256.empty();
  if (file.size_bytes.value_or(0) < 0) add("size_bytes", "must not be negative");
  if (hashed && !IsSha256Hex(file.sha256)) {
    add("sha256", "must be 64 lower-case hexadecimal digits");
  }
  if (file.offset_bytes < 0) add("offset_bytes", "must not be negative");
  if (file.offset_bytes > 0 && (!hashed || !file.size_bytes.has_value())) {
    add("offset_bytes", "needs the file's sha256 and size_bytes");
  } else if (file.offset_bytes > file.size_bytes.value_or(0)) {
    add("offset_bytes", absl::StrCat("is beyond the end of the file, ", *file.size_bytes));
  }
  return violations.ToStatus();
}

}  // namespace

FileUpload::FileUpload(const Catalogue& catalogue)
    : catalogue_(catalogue),
      room_(catalogue.blobs,
            [&partials = catalogue.partials](int64_t bytes) { return partials.MakeWay(bytes); }) {}

absl::Status FileUpload::Begin(const AnnouncedFile& file) {
  RETURN_IF_ERROR(CheckAnnounced(file));
  const int64_t size = file.size_bytes.value_or(0);
  if (!file.sha256.empty() && size > 0) {
    ASSIGN_OR_RETURN(writer_, catalogue_.partials.Resume(file.sha256, size, file.offset_bytes));
  } else {
    BlobExpectation expected;
    expected.size_bytes = file.size_bytes;
    if (!file.sha256.empty()) expected.sha256 = file.sha256;
    ASSIGN_OR_RETURN(writer_, catalogue_.blobs.NewWriter(expected));
  }
  // Now that it is held, the file's own beginning makes way for nobody.
  return room_.Begin(size - file.offset_bytes);
}

absl::Status FileUpload::Append(absl::string_view bytes) {
  RETURN_IF_ERROR(room_.Grow(static_cast<int64_t>(bytes.size())));
  return writer_->Append(bytes);
}

absl::StatusOr<BlobInfo> FileUpload::Commit() {
  const std::unique_ptr<BlobWriter> writer = std::move(writer_);
  return writer->Commit();
}

absl::Status CheckPiece(absl::string_view bytes, absl::string_view field) {
  if (bytes.size() <= static_cast<size_t>(kMaxChunkBytes)) return absl::OkStatus();
  return FieldViolation(field, absl::StrCat("has more than ", kMaxChunkBytes, " bytes"));
}

}  // namespace graft
