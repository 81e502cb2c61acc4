#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace graft {

// Help texts that fit a terminal of 80 columns: what is said of an option or command is wrapped
// beside its name. To be set before commands are added.
class CommandHelp : public CLI::Formatter {
 public:
  std::string make_option_desc(const CLI::Option* option) const override {
    return Wrap(option->get_description());
  }
  std::string make_subcommand(const CLI::App* command) const override {
    std::ostringstream out;
    CLI::detail::format_help(out, command->get_display_name(true), Wrap(command->get_description()),
                             column_width_);
    return out.str();
  }

 private:
  std::string Wrap(const std::string& text) const {
    constexpr size_t kColumns = 80;
    const size_t room = kColumns - column_width_;
    std::vector<std::string> lines;
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      lines.emplace_back();
      for (const absl::string_view word : absl::StrSplit(line, ' ')) {
        std::string& last = lines.back();
        if (!last.empty() && last.size() + 1 + word.size() > room) {
          lines.emplace_back(word);
        } else {
          absl::StrAppend(&last, last.empty() ? "" : " ", word);
        }
      }
    }
    return absl::StrJoin(lines, "\n");
  }
};

}  // namespace graft
