#pragma once

// The locale that the environment names, for one test.

#include <cstdlib>
#include <optional>
#include <string>

namespace graft {

// Sets an environment variable as long as it lives.
class ScopedEnvironment {
 public:
  ScopedEnvironment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value == nullptr ? unsetenv(name) : setenv(name, value, 1);
  }
  ~ScopedEnvironment() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  ScopedEnvironment(const ScopedEnvironment&) = delete;

 private:
  const char* const name_;
  std::optional<std::string> before_;
};

struct Utf8Locale : ScopedEnvironment {
  Utf8Locale() : ScopedEnvironment("LC_ALL", "C.UTF-8") {}
};
struct CLocale : ScopedEnvironment {
  CLocale() : ScopedEnvironment("LC_ALL", "C") {}
};

}  // namespace graft
