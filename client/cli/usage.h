#pragma once

// The command line as a whole: how its words are read, and what is said when they are wrong.

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace graft {

// The words with the names of flags as they are spelled here: "--batch_size=4" is "--batch-size=4".
// After "--" nothing is a flag.
std::vector<std::string> FoldFlags(const std::vector<std::string>& words);

// A value that is one of `names`, '-' for '_' and in any case; else the message has the one that
// was probably meant.
CLI::Validator OneOf(const std::vector<std::string>& names);

// The commands of each of these groups take one line of the list together: it must fit a terminal.
inline constexpr char kWaitingGroup[] = "Before it runs";
inline constexpr char kLifeGroup[] = "A job's life";
inline constexpr char kResultsGroup[] = "Studies and results";
inline constexpr char kChecksGroup[] = "Checks and settings";
// The commands of `app`, by group, each with a few words.
std::string CommandList(const CLI::App& app);

// The command that the words led to, as far as they did.
const CLI::App& ChosenCommand(const CLI::App& app);

// What was wrong with the words, what was probably meant, and what there is.
std::string UsageText(const CLI::App& app, const CLI::ParseError& error);

// `status` with the fields of the request called as the command's flags that were given for them:
// "generation.top_p" is "--top-p".
absl::Status NameFlags(const CLI::App& command, const absl::Status& status);

}  // namespace graft
