#pragma once

// Page tokens: where a list goes on, bound to the query that it belongs to. Opaque to clients, who
// may nevertheless send anything.

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace graft {

// `query` is any text that is equal for equal queries; `position` are texts without line ends.
std::string MakePageToken(absl::string_view query, const std::vector<std::string>& position);
// INVALID_ARGUMENT (violation of "page_token") when it was not made for this query, or holds
// another number of texts.
absl::StatusOr<std::vector<std::string>> ReadPageToken(absl::string_view query,
                                                       absl::string_view token, size_t size);

// The page size to use for a request's: the default for 0, at most kMaxPageSize. INVALID_ARGUMENT
// (violation of "page_size") when negative.
absl::StatusOr<int> EffectivePageSize(int page_size);

// Fills a page: Add takes items until there are page_size of them or the next would make the page
// larger than kMaxPageBytes. The first one always fits.
class PageBounds {
 public:
  explicit PageBounds(int page_size) : page_size_(page_size) {}
  // False: the page is full, and this item begins the next one.
  bool Add(size_t item_bytes);

 private:
  const int page_size_;
  int items_ = 0;
  size_t bytes_ = 0;
};

}  // namespace graft
