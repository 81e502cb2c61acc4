#pragma once

// A flag of a program that takes a whole number, or leaves it to the program.

#include <CLI/CLI.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace graft {

// Takes lowest..most, or "auto", which becomes lowest - 1.
inline CLI::Validator AutoOrNumber(int lowest, int most) {
  return CLI::Validator(
      [lowest, most](std::string& text) {
        int number = 0;
        if (text == "auto") {
          text = absl::StrCat(lowest - 1);
        } else if (!absl::SimpleAtoi(text, &number) || number < lowest || number > most) {
          return absl::StrCat("\"", text, "\" is neither auto nor a number from ", lowest, " to ",
                              most);
        }
        return std::string();
      },
      absl::StrCat("auto|", lowest, "-", most));
}

}  // namespace graft
