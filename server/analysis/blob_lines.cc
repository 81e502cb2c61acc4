#include "server/analysis/blob_lines.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/status_macros.h"

namespace graft {

absl::Status ForEachLine(
    const BlobReader& blob, const Gone& gone,
    const std::function<absl::Status(int64_t number, absl::string_view line)>& visit) {
  std::vector<char> piece(size_t{256} << 10);
  std::string begun;  // A line whose end has not been read.
  int64_t number = 0;
  int64_t offset = 0;
  while (true) {
    RETURN_IF_ERROR(CheckWanted(gone));
    ASSIGN_OR_RETURN(const size_t size, blob.ReadAt(offset, absl::MakeSpan(piece)));
    if (size == 0) break;
    offset += static_cast<int64_t>(size);
    absl::string_view rest(piece.data(), size);
    for (size_t end = rest.find('\n'); end != absl::string_view::npos; end = rest.find('\n')) {
      const absl::string_view last = rest.substr(0, end);
      rest.remove_prefix(end + 1);
      if (begun.empty()) {
        RETURN_IF_ERROR(visit(++number, last));
        continue;
      }
      absl::StrAppend(&begun, last);
      RETURN_IF_ERROR(visit(++number, begun));
      begun.clear();
    }
    absl::StrAppend(&begun, rest);
    if (begun.size() > kMaxArtifactLineBytes) {
      return absl::DataLossError(absl::StrCat("line ", number + 1, " is longer than ",
                                              kMaxArtifactLineBytes >> 20, " MiB"));
    }
  }
  return begun.empty() ? absl::OkStatus() : visit(number + 1, begun);
}

}  // namespace graft
