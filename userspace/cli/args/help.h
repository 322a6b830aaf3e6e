// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_HELP_H_
#define NODEPORT_GUARD_CLI_ARGS_HELP_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/args/cli11.h"

namespace npg::cli {

// A command's description: its first line is the summary, paragraphs follow.
// The examples are the app's footer, one per line.
std::string Summary(const CLI::App& app);
std::vector<std::string> Details(const CLI::App& app);
std::vector<std::string> Examples(const CLI::App& app);

// "-o, --output table|json|yaml"; of a positional "PORT[/tcp|/udp]".
std::string OptionSyntax(const CLI::Option& option);

// "nodeport-guard explain [FLAGS] PORT[/tcp|/udp]".
std::string UsageLine(const CLI::App& app);

// The commands of the program, the flags and the positionals of a command, in
// the order in which they were defined.
std::vector<const CLI::App*> Commands(const CLI::App& app);
std::vector<const CLI::Option*> Flags(const CLI::App& app);
std::vector<const CLI::Option*> Positionals(const CLI::App& app);

// The output of --help, for the program or one command. 80 columns.
std::string HelpText(const CLI::App& app);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_HELP_H_
