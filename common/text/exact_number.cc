#include "common/text/exact_number.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace graft {

std::string ExactNumber(double value) {
  return std::isfinite(value) ? nlohmann::json(value).dump() : "";
}

}  // namespace graft
