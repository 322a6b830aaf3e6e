// SPDX-License-Identifier: Apache-2.0
#include "cli/args/help.h"

#include <CLI/CLI.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "cli/args/text.h"

namespace npg::cli {
namespace {

constexpr size_t kWidth = 80;
constexpr absl::string_view kIndent = "  ";
constexpr size_t kTextColumn = 26;

bool IsProgram(const CLI::App& app) { return !Commands(app).empty(); }

void AppendParagraph(std::string& out, absl::string_view text) {
  for (const std::string& line : Wrap(text, kWidth)) absl::StrAppend(&out, line, "\n");
}

// Appends a term, and its text in a column beside it (below a long term).
void AppendEntry(std::string& out, absl::string_view term, absl::string_view text) {
  std::string line = absl::StrCat(kIndent, term);
  if (line.size() + 2 > kTextColumn) {
    absl::StrAppend(&out, line, "\n");
    line.clear();
  }
  for (const std::string& part : Wrap(text, kWidth - kTextColumn)) {
    line.resize(kTextColumn, ' ');
    absl::StrAppend(&out, line, part, "\n");
    line.clear();
  }
}

}  // namespace

std::string Summary(const CLI::App& app) {
  const std::string description = app.get_description();
  return description.substr(0, description.find('\n'));
}

std::vector<std::string> Details(const CLI::App& app) {
  std::vector<std::string> lines =
      absl::StrSplit(app.get_description(), '\n', absl::SkipWhitespace());
  lines.erase(lines.begin());
  return lines;
}

std::vector<std::string> Examples(const CLI::App& app) {
  return absl::StrSplit(app.get_footer(), '\n', absl::SkipWhitespace());
}

std::string OptionSyntax(const CLI::Option& option) {
  if (option.get_positional()) return option.get_type_name();
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back(absl::StrCat("-", name));
  for (const std::string& name : option.get_lnames()) names.push_back(absl::StrCat("--", name));
  const std::string value = option.get_expected_max() > 0 ? option.get_type_name() : "";
  return absl::StrCat(absl::StrJoin(names, ", "), value.empty() ? "" : " ", value);
}

std::string UsageLine(const CLI::App& app) {
  if (IsProgram(app)) return absl::StrCat(app.get_name(), " COMMAND [FLAGS]");
  std::string line = absl::StrCat("nodeport-guard ", app.get_name());
  if (Flags(app).size() > 1) line += " [FLAGS]";
  for (const CLI::Option* positional : Positionals(app)) {
    absl::StrAppend(&line, " ", OptionSyntax(*positional));
  }
  return line;
}

std::vector<const CLI::App*> Commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<const CLI::Option*> Flags(const CLI::App& app) {
  std::vector<const CLI::Option*> flags =
      app.get_options([](const CLI::Option* option) { return !option->get_positional(); });
  // CLI11 lists --help first; by convention it comes last.
  if (!flags.empty() && flags.front() == app.get_help_ptr()) {
    flags.push_back(flags.front());
    flags.erase(flags.begin());
  }
  return flags;
}

std::vector<const CLI::Option*> Positionals(const CLI::App& app) {
  return app.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

std::string HelpText(const CLI::App& app) {
  std::string out = absl::StrCat("Usage: ", UsageLine(app), "\n\n");
  AppendParagraph(out, Summary(app));
  for (const std::string& paragraph : Details(app)) {
    out += "\n";
    AppendParagraph(out, paragraph);
  }
  if (IsProgram(app)) {
    out += "\nCommands:\n";
    for (const CLI::App* command : Commands(app)) {
      AppendEntry(out, command->get_name(), Summary(*command));
    }
  }
  for (const CLI::Option* positional : Positionals(app)) {
    out += "\n";
    AppendEntry(out, OptionSyntax(*positional), positional->get_description());
  }
  out += "\nFlags:\n";
  for (const CLI::Option* flag : Flags(app)) {
    std::string text = flag->get_description();
    if (!flag->get_default_str().empty()) {
      // Spaces, so that a long list can be wrapped.
      absl::StrAppend(
          &text, " [default: ", absl::StrReplaceAll(flag->get_default_str(), {{",", ", "}}), "]");
    }
    AppendEntry(out, OptionSyntax(*flag), text);
  }
  const std::vector<std::string> examples = Examples(app);
  out += examples.size() == 1 ? "\nExample:\n" : "\nExamples:\n";
  for (const std::string& example : examples) absl::StrAppend(&out, kIndent, example, "\n");
  if (IsProgram(app)) {
    out += "\nEach command has a --help of its own.\n";
  } else if (Flags(app).size() > 1) {
    out += "\n";
    AppendParagraph(out,
                    "Each flag can also be set by an environment variable: --bpffs by "
                    "NODEPORT_GUARD_BPFFS. A flag on the command line takes precedence.");
  }
  return out;
}

}  // namespace npg::cli
