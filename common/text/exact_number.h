#pragma once

#include <string>

namespace graft {

// The shortest digits that are it ("0.1", "1e-05", "2.0"); empty if it is not finite.
std::string ExactNumber(double value);

}  // namespace graft
