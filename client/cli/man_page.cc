#include "client/cli/man_page.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/version.h"

namespace graft {
namespace {

std::vector<const CLI::App*> CommandsBelow(const CLI::App& app) {
  std::vector<const CLI::App*> commands;
  for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(one);
  }
  return commands;
}

// Text of which roff obeys nothing.
std::string RoffText(absl::string_view text) {
  std::string escaped = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}});
  // A request begins a line.
  if (!escaped.empty() && (escaped[0] == '.' || escaped[0] == '\'')) escaped.insert(0, "\\&");
  return escaped;
}

std::string Paragraph(const std::string& text) {
  std::vector<std::string> lines;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) lines.push_back(RoffText(line));
  return absl::StrCat(absl::StrJoin(lines, "\n"), "\n");
}

std::string Section(const std::string& title, const std::string& text) {
  return text.empty() ? "" : absl::StrCat(".SH ", title, "\n", text);
}

std::string Words(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return absl::StrCat(parent == nullptr ? "" : absl::StrCat(Words(*parent), " "),
                      command.get_name());
}

// "Follow a job": a page's index has one line.
std::string OneSentence(const std::string& description) {
  return description.substr(0, description.find_first_of(":;\n"));
}

// "-f,--follow", with what it takes.
std::string FlagWords(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  std::string text = absl::StrCat(".B ", RoffText(absl::StrJoin(names, ", ")));
  if (option.get_items_expected_min() > 0) {
    const std::string type = option.get_type_name();
    absl::StrAppend(&text, " ", RoffText(type.substr(0, type.find(':'))));
  }
  return text;
}

std::string Choices(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find(':');
  std::string text;
  if (begin != std::string::npos) absl::StrAppend(&text, " (", type.substr(begin + 1), ")");
  const std::string usual = option.get_default_str();
  if (!usual.empty()) absl::StrAppend(&text, " [", usual, "]");
  return text;
}

std::string FlagSection(const CLI::App& command) {
  std::string text;
  for (const std::string& group : command.get_groups()) {
    std::string flags;
    for (const CLI::Option* option : command.get_options()) {
      if (option->get_group() != group || option->get_positional()) continue;
      absl::StrAppend(&flags, ".TP\n", FlagWords(*option), "\n",
                      Paragraph(absl::StrCat(option->get_description(), Choices(*option))));
    }
    if (flags.empty()) continue;
    absl::StrAppend(&text, group == "Options" ? "" : absl::StrCat(".SS ", RoffText(group), "\n"),
                    flags);
  }
  return text;
}

std::string Positionals(const CLI::App& command, bool described) {
  std::string text;
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) continue;
    const std::string name = RoffText(
        absl::StrCat(option->get_name(true), option->get_items_expected_max() > 1 ? "..." : ""));
    if (described) {
      absl::StrAppend(&text, ".TP\n.I ", name, "\n", Paragraph(option->get_description()));
    } else {
      absl::StrAppend(&text, option->get_required() ? "" : "[", "\\fI", name, "\\fR",
                      option->get_required() ? " " : "] ");
    }
  }
  return text;
}

std::string Synopsis(const CLI::App& command) {
  const bool has_commands = !CommandsBelow(command).empty();
  return absl::StrCat(".B ", RoffText(Words(command)), "\n[\\fIOPTIONS\\fR] ",
                      has_commands ? "\\fICOMMAND\\fR" : Positionals(command, false), "\n");
}

std::string CommandSection(const CLI::App& command) {
  std::string text;
  for (const CLI::App* one : CommandsBelow(command)) {
    absl::StrAppend(&text, ".TP\n.BR ", RoffText(ManPageName(*one)), " (1)\n",
                    Paragraph(one->get_description()));
  }
  return text;
}

}  // namespace

std::string ManPageName(const CLI::App& command) {
  return absl::StrReplaceAll(Words(command), {{" ", "-"}});
}

std::string ManPage(const CLI::App& command) {
  const std::string name = ManPageName(command);
  const CLI::App* parent = command.get_parent();
  return absl::StrCat(
      ".TH ", RoffText(absl::AsciiStrToUpper(name)), " 1 \"\" \"graft ", kVersion, "\" \"graft\"\n",
      Section("NAME", absl::StrCat(RoffText(name), " \\- ",
                                   RoffText(OneSentence(command.get_description())), "\n")),
      Section("SYNOPSIS", Synopsis(command)),
      Section("DESCRIPTION",
              absl::StrCat(Paragraph(command.get_description()), Positionals(command, true))),
      Section("COMMANDS", CommandSection(command)), Section("OPTIONS", FlagSection(command)),
      Section("EXAMPLE", command.get_footer().empty()
                             ? ""
                             : absl::StrCat(".nf\n",
                                            Paragraph(std::string(absl::StripPrefix(
                                                command.get_footer(), "Example:\n"))),
                                            ".fi\n")),
      parent == nullptr
          ? ""
          : Section("SEE ALSO", absl::StrCat(".BR ", RoffText(ManPageName(*parent)), " (1)\n")));
}

std::vector<const CLI::App*> WithSubcommands(const CLI::App& command) {
  std::vector<const CLI::App*> all = {&command};
  for (const CLI::App* one : CommandsBelow(command)) {
    const std::vector<const CLI::App*> below = WithSubcommands(*one);
    all.insert(all.end(), below.begin(), below.end());
  }
  return all;
}

}  // namespace graft
