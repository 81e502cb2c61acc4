#pragma once

// What the completion of a shell offers: the program's own commands and flags, and the names that
// its server has.

#include <functional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/string_view.h"

namespace graft {

// A shell asks `graft __complete WORD...`, the last of which is what is typed so far.
inline constexpr char kCompletionRequest[] = "__complete";

struct Suggestion {
  std::string word;   // In place of all that is typed of the word.
  std::string about;  // In a few words; may be empty.
};

enum class NameKind { kJob, kStudy, kDataset, kModel, kAdapter, kContext };
using NameSource = std::function<std::vector<Suggestion>(NameKind)>;

// What may stand in place of the last word. `names` is asked only for what is needed. Empty: there
// is nothing to say, or the word names a file, which is the shell's to find.
std::vector<Suggestion> Complete(const CLI::App& app, std::vector<std::string> words,
                                 const NameSource& names);

// Answers a shell: a line for each suggestion, "WORD\tABOUT". Asks the server that the words name,
// or else the usual one, for a short while; says nothing of what goes wrong.
void PrintCompletions(const CLI::App& app, const std::string& server,
                      const std::vector<std::string>& words);

}  // namespace graft
