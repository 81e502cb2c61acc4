#include "common/text/samples_hash.h"

#include "absl/strings/string_view.h"

namespace graft {

void SamplesHash::Add(const std::vector<std::string>& references) {
  for (const std::string& reference : references) {
    hash_.Update(reference);
    hash_.Update(absl::string_view("\0", 1));
  }
  hash_.Update("\1");
}

}  // namespace graft
