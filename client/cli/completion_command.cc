// graft completion.

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_replace.h"
#include "client/cli/command.h"
#include "client/cli/completion.h"
#include "client/cli/usage.h"

namespace graft {
namespace {

// Bash cuts words at what is in COMP_WORDBREAKS: the program gets them whole, and of its answers
// what stands before the last such character is there already.
constexpr char kBash[] = R"(# The completion of graft for bash:  source <(graft completion bash)
_graft() {
  local line=${COMP_LINE:0:COMP_POINT} program=${COMP_WORDS[0]/#\~/$HOME} word about cut before=
  local -a words=()
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  local typed=${words[${#words[@]} - 1]}
  for cut in = :; do
    if [[ $COMP_WORDBREAKS == *"$cut"* && $typed == *"$cut"* ]]; then
      about=${typed%"${typed##*"$cut"}"}
      ((${#about} > ${#before})) && before=$about
    fi
  done
  COMPREPLY=()
  while IFS=$'\t' read -r word about; do
    COMPREPLY+=("${word#"$before"}")
  done < <("$program" REQUEST "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _graft graft
)";

constexpr char kZsh[] = R"(#compdef graft
# The completion of graft for zsh:  source <(graft completion zsh)
_graft() {
  local -a found
  local word about
  while IFS=$'\t' read -r word about; do
    found+=("${word//:/\\:}${about:+:$about}")
  done < <("${~words[1]}" REQUEST "${(@Q)words[2,CURRENT]}" 2>/dev/null)
  if (($#found)); then
    _describe graft found
  else
    _files
  fi
}
if [[ $funcstack[1] == _graft ]]; then
  _graft "$@"
else
  compdef _graft graft
fi
)";

constexpr char kFish[] = R"(# The completion of graft for fish:  graft completion fish | source
function __graft_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] REQUEST $words[2..-1] 2>/dev/null)
    if test -n "$found"
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c graft -f -a '(__graft_complete)'
)";

const struct {
  const char* name;
  const char* script;
} kShells[] = {{"bash", kBash}, {"zsh", kZsh}, {"fish", kFish}};

struct CompletionOptions {
  std::string shell;
};

absl::Status RunCompletion(CliContext&, const CompletionOptions& options) {
  for (const auto& shell : kShells) {
    if (options.shell != shell.name) continue;
    std::fputs(absl::StrReplaceAll(shell.script, {{"REQUEST", kCompletionRequest}}).c_str(),
               stdout);
  }
  return absl::OkStatus();
}

}  // namespace

void AddCompletionCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<CompletionOptions>();
  std::vector<std::string> names;
  for (const auto& shell : kShells) names.emplace_back(shell.name);
  CLI::App* command = AddCommand(
      app, run, "completion",
      "Print what makes a shell complete graft's commands, flags and names: its first lines say "
      "how it is loaded",
      "graft completion bash", options, RunCompletion);
  command->add_option("shell", options->shell, "Whose")->required()->transform(OneOf(names));
}

}  // namespace graft
