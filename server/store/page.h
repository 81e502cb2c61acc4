#pragma once

#include <string>
#include <vector>

namespace graft {

template <typename T>
struct Page {
  std::vector<T> items;
  std::string next_page_token;  // Empty: the last page.
};

}  // namespace graft
