// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_COMMAND_LINE_H_
#define NODEPORT_GUARD_CLI_ARGS_COMMAND_LINE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/args/cli11.h"
#include "cli/args/environment.h"
#include "cli/args/flags.h"
#include "cli/args/options.h"

namespace npg::cli {

// Defines the commands and flags. --help, the man page and the shell completions
// are generated from its CLI::App.
class CommandLine {
 public:
  CommandLine();
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Parses the arguments (without the program's name). Every error is a usage
  // error. Call it once.
  absl::StatusOr<Options> Parse(const std::vector<std::string>& args,
                                const Environment& environment);

  // The help to refer to: "nodeport-guard run --help", with the command that the
  // arguments named, if any.
  std::string HelpCommand() const;

  const CLI::App& app() const { return *app_; }

 private:
  struct Command {
    std::string name;
    CLI::App* app;
    FlagSet flags;
    std::shared_ptr<std::string> config_file;  // the value of --config; empty: not given
    // Makes the options from what the flags have set, in this environment.
    std::function<absl::StatusOr<Options>(const Environment& environment)> finish;
  };

  // Adds a command; its flags are then added to the result.
  Command& AddCommand(const std::string& name, const std::string& summary,
                      const std::string& details, const std::string& examples);
  void AddRun();
  void AddStatus();
  void AddExplain();
  void AddEvents();
  void AddScan();
  void AddDoctor();
  void AddUnload();
  void AddVersion();

  static absl::Status ParseWithCli11(CLI::App& app, const std::vector<std::string>& args,
                                     bool& help);

  std::unique_ptr<CLI::App> app_;
  std::vector<std::unique_ptr<Command>> commands_;
  std::string named_;  // the command that was named
};

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_COMMAND_LINE_H_
