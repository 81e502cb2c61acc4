#pragma once

#include <any>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace graft {

// What trains, or what an adapter consists of: a set of parts, at most one of each method, as plain
// values. The type of a part says whose it is (LoraConfig::kMethod); each stands in its method's
// own header. A value like any other.
class MethodConfig {
 public:
  // Adds the part, or replaces the one of that method.
  template <typename Part>
  MethodConfig& Set(Part part) {
    parts_[Part::kMethod] = std::move(part);
    return *this;
  }
  // nullptr when there is none.
  template <typename Part>
  const Part* Find() const {
    const auto found = parts_.find(Part::kMethod);
    return found == parts_.end() ? nullptr : std::any_cast<Part>(&found->second);
  }
  // The part, with its defaults when there was none.
  template <typename Part>
  Part& Get() {
    std::any& part = parts_[Part::kMethod];
    if (!part.has_value()) part = Part();
    return std::any_cast<Part&>(part);
  }
  template <typename Part>
  void Remove() {
    parts_.erase(Part::kMethod);
  }
  bool Has(absl::string_view method) const { return parts_.contains(std::string(method)); }
  bool empty() const { return parts_.empty(); }

 private:
  std::map<std::string, std::any, std::less<>> parts_;  // By the method's name.
};

}  // namespace graft
