#include "client/cli/usage.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/output.h"
#include "common/base/suggest.h"
#include "common/errors/status_details.h"

namespace graft {
namespace {

constexpr size_t kColumns = 80;
constexpr size_t kListMargin = 14;
constexpr absl::string_view kGroupsOnALine[] = {kWaitingGroup, kLifeGroup, kResultsGroup,
                                                kChecksGroup};

bool IsFlag(const std::string& word) { return word.size() > 1 && word[0] == '-'; }

bool HasCommands(const CLI::App& app) {
  return !app.get_subcommands([](const CLI::App*) { return true; }).empty();
}

// "graft adapters list"
std::string NameOf(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr ? command.get_name()
                           : absl::StrCat(NameOf(*parent), " ", command.get_name());
}

// What a description begins with: the rest is for the command's own help.
std::string FewWords(const std::string& description) {
  const std::string words = description.substr(0, description.find_first_of(";\n"));
  return kListMargin + words.size() <= kColumns ? words : words.substr(0, words.find(':'));
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  if (command.get_parent() == nullptr) return names;
  const std::vector<std::string> inherited = FlagNames(*command.get_parent());
  names.insert(names.end(), inherited.begin(), inherited.end());
  return names;
}

// "Training      --epochs --max-steps ...", on as many lines as it takes.
void AppendWrapped(const std::string& heading, const std::vector<std::string>& words,
                   std::string& text) {
  std::string line = absl::StrFormat("  %-*s", kListMargin - 2, heading);
  for (const std::string& word : words) {
    if (line.size() > kListMargin && line.size() + 1 + word.size() > kColumns) {
      absl::StrAppend(&text, line, "\n");
      line = std::string(kListMargin, ' ');
    }
    absl::StrAppend(&line, line.size() > kListMargin ? " " : "", word);
  }
  absl::StrAppend(&text, line, "\n");
}

std::string FlagList(const CLI::App& command) {
  std::string text;
  for (const std::string& group : command.get_groups()) {
    std::vector<std::string> names;
    for (const CLI::Option* option : command.get_options()) {
      if (option->get_group() != group || option->get_lnames().empty()) continue;
      names.push_back("--" + option->get_lnames()[0]);
    }
    if (!names.empty()) AppendWrapped(group == "Options" ? "" : group, names, text);
  }
  if (command.get_parent() != nullptr) {
    AppendWrapped("Everywhere", FlagNames(*command.get_parent()), text);
  }
  return text;
}

std::string UnknownFlag(const CLI::App& command, const std::string& word) {
  const std::string flag = word.substr(0, word.find('='));
  const std::string name = NameOf(command);
  return absl::StrCat("graft: ", name, " has no flag ", flag, DidYouMean(flag, FlagNames(command)),
                      "\n\nflags of ", name, " (", name, " --help explains them):\n",
                      FlagList(command));
}

std::string UnknownCommand(const CLI::App& app, const std::string& word) {
  return absl::StrCat("graft: there is no ", NameOf(app), " ", word,
                      DidYouMean(word, CommandNames(app)), "\n\n", CommandList(app));
}

std::vector<std::string> NamesIn(const std::vector<const CLI::App*>& commands,
                                 const std::string& group) {
  std::vector<std::string> names;
  for (const CLI::App* command : commands) {
    if (command->get_group() == group) names.push_back(command->get_name());
  }
  return names;
}

}  // namespace

std::vector<std::string> FoldFlags(const std::vector<std::string>& words) {
  std::vector<std::string> folded = words;
  for (std::string& word : folded) {
    if (word == "--") break;
    if (!absl::StartsWith(word, "--")) continue;
    const auto end = word.begin() + static_cast<int64_t>(std::min(word.find('='), word.size()));
    std::replace(word.begin(), end, '_', '-');
  }
  return folded;
}

CLI::Validator OneOf(const std::vector<std::string>& names) {
  return CLI::Validator(
      [names](std::string& text) {
        for (const std::string& name : names) {
          if (Folded(text) != Folded(name)) continue;
          text = name;
          return std::string();
        }
        return std::string(NotOneOf(text, names).message());
      },
      absl::StrCat("{", absl::StrJoin(names, ","), "}"));
}

std::string CommandList(const CLI::App& app) {
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  std::vector<std::string> groups;
  for (const CLI::App* command : commands) {
    if (std::find(groups.begin(), groups.end(), command->get_group()) == groups.end()) {
      groups.push_back(command->get_group());
    }
  }
  std::string text;
  for (const std::string& group : groups) {
    if (absl::c_linear_search(kGroupsOnALine, group)) {
      absl::StrAppend(&text, group, ": ", absl::StrJoin(NamesIn(commands, group), ", "), "\n");
      continue;
    }
    if (groups.size() > 1) absl::StrAppend(&text, group, "\n");
    for (const CLI::App* command : commands) {
      if (command->get_group() != group) continue;
      absl::StrAppendFormat(&text, "  %-*s%s\n", kListMargin - 2, command->get_name(),
                            FewWords(command->get_description()));
    }
  }
  return absl::StrCat(text, "\n", NameOf(app), " COMMAND --help: its flags, with an example\n");
}

const CLI::App& ChosenCommand(const CLI::App& app) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  return chosen.empty() ? app : ChosenCommand(*chosen[0]);
}

std::string UsageText(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = ChosenCommand(app);
  const std::string name = NameOf(command);
  const std::vector<std::string> extra = app.remaining(true);
  const bool lacks_command = HasCommands(command);
  if (lacks_command && extra.empty()) {
    return absl::StrCat(FewWords(command.get_description()), "\n\n", CommandList(command));
  }
  if (!extra.empty()) {
    const auto word = std::find_if_not(extra.begin(), extra.end(), IsFlag);
    if (lacks_command && word != extra.end()) return UnknownCommand(command, *word);
    const auto flag = std::find_if(extra.begin(), extra.end(), IsFlag);
    if (flag != extra.end()) return UnknownFlag(command, *flag);
    return absl::StrCat("graft: ", name, ": ", extra[0], " is one word too many\n",
                        command.get_footer(), "\n");
  }
  return absl::StrCat("graft: ", name, ": ", error.what(), "\n", command.get_footer(), "\n", name,
                      " --help explains its flags\n");
}

absl::Status NameFlags(const CLI::App& command, const absl::Status& status) {
  const auto given = FieldViolationsOf(status);
  // Whoever takes job files knows what came from them.
  if (given.empty() || command.get_option_no_throw("--file") != nullptr) return status;
  Violations violations;
  for (const auto& violation : given) {
    std::string name = violation.field();
    const size_t dot = name.rfind('.') + 1;  // Without one, 0.
    const std::string flag = "--" + Folded(name.substr(dot));
    const CLI::Option* option = command.get_option_no_throw(flag);
    if (option != nullptr && option->count() > 0) name = flag;
    violations.Add(name, violation.description(), violation.reason());
  }
  return violations.Explain(status);
}

}  // namespace graft
