#pragma once

// A flag of a program that takes a whole number from 1, or leaves it to the program.

#include <CLI/CLI.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace graft {

// Takes "auto", which becomes 0, or 1..most.
inline CLI::Validator AutoOrNumber(int most) {
  return CLI::Validator(
      [most](std::string& text) {
        int number = 0;
        if (text == "auto") {
          text = "0";
        } else if (!absl::SimpleAtoi(text, &number) || number < 1 || number > most) {
          return absl::StrCat("\"", text, "\" is neither auto nor a number from 1 to ", most);
        }
        return std::string();
      },
      absl::StrCat("auto|1-", most));
}

}  // namespace graft
