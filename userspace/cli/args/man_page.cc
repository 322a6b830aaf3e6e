// SPDX-License-Identifier: Apache-2.0
#include "cli/args/man_page.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/capabilities.h"
#include "cli/args/flags.h"
#include "cli/args/help.h"

namespace npg::cli {
namespace {

// Escapes text for roff. A dash becomes a minus, so that commands copied from the
// page work in a shell.
std::string Escape(absl::string_view text) {
  std::string escaped = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}});
  if (absl::StartsWith(escaped, ".") || absl::StartsWith(escaped, "'")) {
    escaped.insert(0, "\\&");
  }
  return escaped;
}

std::string Bold(absl::string_view text) { return absl::StrCat("\\fB", Escape(text), "\\fR"); }
std::string Italic(absl::string_view text) { return absl::StrCat("\\fI", Escape(text), "\\fR"); }

class Page {
 public:
  void Section(absl::string_view title) { absl::StrAppend(&text_, ".SH ", title, "\n"); }
  void Subsection(absl::string_view title) { absl::StrAppend(&text_, ".SS ", Escape(title), "\n"); }
  void Paragraph(absl::string_view text) { absl::StrAppend(&text_, ".PP\n", Escape(text), "\n"); }
  // A term (already marked up) and its text.
  void Entry(absl::string_view term, absl::string_view text) {
    absl::StrAppend(&text_, ".TP\n", term, "\n", Escape(text), "\n");
  }
  void Example(const std::vector<std::string>& lines) {
    absl::StrAppend(&text_, ".PP\n.RS 4\n.nf\n");
    for (const std::string& line : lines) absl::StrAppend(&text_, Escape(line), "\n");
    absl::StrAppend(&text_, ".fi\n.RE\n");
  }
  void Raw(absl::string_view text) { absl::StrAppend(&text_, text); }

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string FlagTerm(const CLI::Option& flag) {
  std::string term;
  for (const std::string& name : flag.get_snames()) {
    absl::StrAppend(&term, Bold(absl::StrCat("-", name)), ", ");
  }
  absl::StrAppend(&term, Bold(absl::StrCat("--", flag.get_lnames().front())));
  if (flag.get_expected_max() > 0) absl::StrAppend(&term, " ", Italic(flag.get_type_name()));
  return term;
}

void AppendCommand(Page& page, const CLI::App& command) {
  page.Subsection(UsageLine(command));
  page.Paragraph(Summary(command));
  for (const std::string& paragraph : Details(command)) page.Paragraph(paragraph);
  for (const CLI::Option* positional : Positionals(command)) {
    page.Entry(Italic(OptionSyntax(*positional)), positional->get_description());
  }
  for (const CLI::Option* flag : Flags(command)) {
    if (flag == command.get_help_ptr()) continue;
    std::string text = flag->get_description();
    if (!flag->get_default_str().empty()) {
      absl::StrAppend(&text, " Default: ", flag->get_default_str(), ".");
    }
    page.Entry(FlagTerm(*flag), text);
  }
  page.Example(Examples(command));
}

}  // namespace

std::string ManPage(const CLI::App& app, absl::string_view version) {
  Page page;
  page.Raw(absl::StrCat(R"(.\" Generated from the definition of the command line.
.TH NODEPORT\-GUARD 8 "" "nodeport\-guard )",
                        Escape(version), R"(" "System Administration")", "\n"));
  // No hyphenation and no justification, so that commands can be searched and copied.
  page.Raw(".nh\n.ad l\n");
  page.Section("NAME");
  page.Raw("nodeport\\-guard \\- keep NodePort NAT away from a node's own loopback listeners\n");
  page.Section("SYNOPSIS");
  for (const CLI::App* command : Commands(app)) {
    page.Raw(absl::StrCat(Escape(UsageLine(*command)), "\n.br\n"));
  }
  page.Section("DESCRIPTION");
  page.Paragraph(Summary(app));
  for (const std::string& paragraph : Details(app)) page.Paragraph(paragraph);
  page.Section("COMMANDS");
  for (const CLI::App* command : Commands(app)) AppendCommand(page, *command);
  page.Section("ENVIRONMENT");
  page.Paragraph(
      "Each flag is also read from an environment variable: upper case, dashes as underscores, "
      "NODEPORT_GUARD_ before it. The command line takes precedence over the environment, the "
      "environment over the file of --config.");
  page.Entry(Bold(EnvironmentName("bpffs")), "As --bpffs; and so on.");
  page.Entry(Bold("NO_COLOR"), "When set and not empty, no colours.");
  page.Section("CAPABILITIES");
  page.Paragraph("The capabilities that run keeps when it starts as root; it drops all others.");
  for (const base::Capability& capability : base::kCapabilities) {
    page.Entry(Bold(capability.name), absl::StrCat("To ", capability.purpose, "."));
  }
  page.Section("FILES");
  page.Entry(Italic("/sys/fs/bpf/nodeport-guard/"),
             "The guard's pinned maps and links: they are the guard, and stay when the controller "
             "ends. Readable with bpftool map dump pinned.");
  page.Entry("nft table " + Bold("inet nodeport_guard"),
             "The rules that act on the mark. Shown by: nft list table inet nodeport_guard.");
  page.Section("EXIT STATUS");
  page.Entry(Bold("0"), "Success.");
  page.Entry(Bold("1"),
             "An error; of status and explain also: no guard is loaded, or it is broken.");
  page.Entry(Bold("2"), "Wrong usage: a flag, a value, a command.");
  page.Entry(Bold("3"), "scan found conflicts.");
  page.Entry(Bold("4"), "This node lacks or forbids what the guard needs.");
  page.Entry(Bold("5"),
             "scan cannot tell: it found no conflict, but its sources see no NodePorts "
             "of this node, or only a part of them.");
  page.Section("EXAMPLES");
  page.Example(Examples(app));
  page.Section("SEE ALSO");
  page.Raw(".BR nft (8),\n.BR bpftool (8),\n.BR iptables\\-save (8),\n.BR cgroups (7)\n");
  return page.text();
}

}  // namespace npg::cli
