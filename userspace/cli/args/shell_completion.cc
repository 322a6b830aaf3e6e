// SPDX-License-Identifier: Apache-2.0
#include "cli/args/shell_completion.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "cli/args/help.h"

namespace npg::cli {
namespace {

std::vector<std::string> NamesOf(const CLI::Option& flag) {
  std::vector<std::string> names;
  for (const std::string& name : flag.get_snames()) names.push_back(absl::StrCat("-", name));
  for (const std::string& name : flag.get_lnames()) names.push_back(absl::StrCat("--", name));
  return names;
}

bool TakesValue(const CLI::Option& flag) { return flag.get_expected_max() > 0; }

// The placeholder in --help selects the completion of a value: "a|b" is a choice,
// FILE and DIR are paths; other values have none.
bool IsChoice(const CLI::Option& flag) { return absl::StrContains(flag.get_type_name(), '|'); }

std::string Choices(const CLI::Option& flag) {
  return absl::StrReplaceAll(flag.get_type_name(), {{"|", " "}});
}

// The command that proposes values, and the options that it needs before it.
std::string BashValues(const CLI::Option& flag) {
  const std::string indent = "          ";
  const std::string collect = absl::StrCat(indent, "mapfile -t COMPREPLY < <(compgen ");
  const std::string paths = absl::StrCat(indent, "compopt -o filenames 2> /dev/null\n", collect);
  if (IsChoice(flag)) return absl::StrCat(collect, "-W '", Choices(flag), "' -- \"$cur\")\n");
  if (flag.get_type_name() == "FILE") return absl::StrCat(paths, "-f -- \"$cur\")\n");
  if (flag.get_type_name() == "DIR") return absl::StrCat(paths, "-d -- \"$cur\")\n");
  return "";
}

// One branch for all flags with the same values.
std::string BashValueCases(const CLI::App& command) {
  std::vector<std::pair<std::string, std::vector<std::string>>> branches;
  for (const CLI::Option* flag : Flags(command)) {
    if (!TakesValue(*flag)) continue;
    const std::string values = BashValues(*flag);
    auto branch = std::find_if(branches.begin(), branches.end(),
                               [&](const auto& other) { return other.first == values; });
    if (branch == branches.end()) branch = branches.insert(branch, {values, {}});
    for (std::string& name : NamesOf(*flag)) branch->second.push_back(std::move(name));
  }
  std::string cases;
  for (const auto& [values, names] : branches) {
    absl::StrAppend(&cases, "        ", absl::StrJoin(names, " | "), ")\n", values,
                    "          return\n          ;;\n");
  }
  return cases;
}

// The first clause of the help, for one line beside the flag.
std::string FirstClause(absl::string_view text) {
  const size_t end = text.find_first_of(":;,.");
  return std::string(text.substr(0, end));
}

std::string ZshQuote(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"\\", "\\\\"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}, {"'", "'\\''"}});
}

// One specification of _arguments: '(-o --output)'{-o,--output}'[text]:value:action'.
std::string ZshFlag(const CLI::App& command, const CLI::Option& flag) {
  const std::vector<std::string> names = NamesOf(flag);
  const bool help = &flag == command.get_help_ptr();
  const bool repeatable =
      TakesValue(flag) && flag.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
  std::string spec;
  if (help) {
    spec = absl::StrCat("'(- *)'{", absl::StrJoin(names, ","), "}'");
  } else if (repeatable) {
    spec = absl::StrCat("'*", names.back());
  } else if (names.size() > 1) {
    spec = absl::StrCat("'(", absl::StrJoin(names, " "), ")'{", absl::StrJoin(names, ","), "}'");
  } else {
    spec = absl::StrCat("'", names.back());
  }
  absl::StrAppend(&spec, "[", ZshQuote(FirstClause(flag.get_description())), "]");
  if (TakesValue(flag)) {
    const std::string name = flag.get_lnames().front();
    absl::StrAppend(&spec, ":", name, ":");
    if (IsChoice(flag)) absl::StrAppend(&spec, "(", Choices(flag), ")");
    if (flag.get_type_name() == "FILE") absl::StrAppend(&spec, "_files");
    if (flag.get_type_name() == "DIR") absl::StrAppend(&spec, "_files -/");
  }
  return absl::StrCat(spec, "'");
}

}  // namespace

std::string BashCompletion(const CLI::App& app) {
  std::vector<std::string> commands;
  std::string cases;
  for (const CLI::App* command : Commands(app)) {
    commands.push_back(command->get_name());
    std::vector<std::string> words;
    for (const CLI::Option* flag : Flags(*command)) {
      for (std::string& name : NamesOf(*flag)) words.push_back(std::move(name));
    }
    const std::string values = BashValueCases(*command);
    absl::StrAppend(&cases, "    ", command->get_name(), ")\n      words='",
                    absl::StrJoin(words, " "), "'\n");
    if (!values.empty()) {
      absl::StrAppend(&cases, "      case $prev in\n", values, "      esac\n");
    }
    absl::StrAppend(&cases, "      ;;\n");
  }
  return absl::StrCat(R"(# bash completion for nodeport-guard. Generated.
# shellcheck shell=bash
_nodeport_guard() {
  local cur=${COMP_WORDS[COMP_CWORD]}
  local prev=${COMP_WORDS[COMP_CWORD - 1]}
  local words=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W ')",
                      absl::StrJoin(commands, " "), R"( --help' -- "$cur")
    return
  fi
  case ${COMP_WORDS[1]} in
)",
                      cases, R"(  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _nodeport_guard nodeport-guard
)");
}

std::string ZshCompletion(const CLI::App& app) {
  std::string names;
  std::string cases;
  for (const CLI::App* command : Commands(app)) {
    absl::StrAppend(&names, "    '", command->get_name(), ":",
                    ZshQuote(FirstClause(Summary(*command))), "'\n");
    std::vector<std::string> specs;
    for (const CLI::Option* flag : Flags(*command)) specs.push_back(ZshFlag(*command, *flag));
    for (const CLI::Option* positional : Positionals(*command)) {
      specs.push_back(absl::StrCat("':", ZshQuote(OptionSyntax(*positional)), ":'"));
    }
    absl::StrAppend(&cases, "    ", command->get_name(), ")\n      _arguments -s \\\n        ",
                    absl::StrJoin(specs, " \\\n        "), "\n      ;;\n");
  }
  return absl::StrCat(R"(#compdef nodeport-guard
# zsh completion for nodeport-guard. Generated.

_nodeport-guard() {
  local -a commands
  commands=(
)",
                      names, R"(  )
  if ((CURRENT == 2)); then
    _describe -t commands command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
)",
                      cases, R"(  esac
}

_nodeport-guard "$@"
)");
}

}  // namespace npg::cli
