// SPDX-License-Identifier: Apache-2.0
#include "cli/args/command_line.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/printable.h"
#include "cli/args/config_file.h"
#include "cli/args/environment.h"
#include "cli/args/flags.h"
#include "cli/args/help.h"
#include "cli/args/options.h"
#include "cli/args/text.h"
#include "cli/exit_code.h"

namespace npg::cli {
namespace {

bool IsHelp(absl::string_view arg) { return arg == "-h" || arg == "--help"; }

absl::Status Unexpected(absl::string_view arg) {
  if (arg.size() > 1 && arg.front() == '-') {
    return UsageError(absl::StrCat("unknown flag ", base::Quoted(arg.substr(0, arg.find('=')))));
  }
  return UsageError(absl::StrCat("unexpected argument ", base::Quoted(arg)));
}

}  // namespace

CommandLine::CommandLine()
    : app_(std::make_unique<CLI::App>(
          "Keeps NodePort NAT away from this node's own loopback listeners.\n"
          "When a NodePort has the number of a port that a process of this node listens on, the "
          "node's own connects to that listener end up in a pod, or are refused. The guard exempts "
          "exactly those connects, and no others.\n"
          "Exit status: 0 success, 1 error, 2 wrong usage, 3 conflicts found (scan), 4 this node "
          "lacks or forbids what the guard needs, 5 cannot tell (scan).",
          "nodeport-guard")) {
  app_->footer(
      "nodeport-guard scan              # is this node affected?\n"
      "nodeport-guard run               # guard it\n"
      "nodeport-guard explain 33589     # what happens to a connect to that port?\n");
  app_->set_help_flag("-h,--help", "Print this help.");
  AddRun();
  AddStatus();
  AddExplain();
  AddEvents();
  AddScan();
  AddDoctor();
  AddUnload();
  AddVersion();
}

CommandLine::~CommandLine() = default;

CommandLine::Command& CommandLine::AddCommand(const std::string& name, const std::string& summary,
                                              const std::string& details,
                                              const std::string& examples) {
  CLI::App* app = app_->add_subcommand(name, absl::StrCat(summary, "\n", details));
  app->footer(examples);
  app->set_help_flag("-h,--help", "Print this help.");
  commands_.push_back(std::make_unique<Command>(
      Command{name, app, FlagSet(app), std::make_shared<std::string>(), nullptr}));
  return *commands_.back();
}

std::string CommandLine::HelpCommand() const {
  return absl::StrCat("nodeport-guard ", named_, named_.empty() ? "" : " ", "--help");
}

// CLI11 throws on errors; this turns every exception into a status.
absl::Status CommandLine::ParseWithCli11(CLI::App& app, const std::vector<std::string>& args,
                                         bool& help) {
  help = false;
  try {
    // CLI11 takes them in reverse order.
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
    return absl::OkStatus();
  } catch (const CLI::CallForHelp&) {
    help = true;
    return absl::OkStatus();
  } catch (const CLI::ExtrasError&) {
    const std::vector<std::string> extra = app.remaining();
    return Unexpected(extra.empty() ? "" : extra.front());
  } catch (const CLI::ArgumentMismatch& error) {
    // "--mode: 1 required a|b missing".
    const absl::string_view what = error.what();
    return UsageError(absl::StrCat(what.substr(0, what.find(':')), ": needs a value"));
  } catch (const CLI::Error& error) {
    return UsageError(absl::StrJoin(Wrap(error.what(), std::string::npos), " "));
  }
}

absl::StatusOr<Options> CommandLine::Parse(const std::vector<std::string>& args,
                                           const Environment& environment) {
  if (args.empty()) return UsageError("no command given");
  if (IsHelp(args[0])) return HelpOptions{HelpText(*app_)};
  Command* command = nullptr;
  for (const std::unique_ptr<Command>& candidate : commands_) {
    if (candidate->name == args[0]) command = candidate.get();
  }
  if (command == nullptr) {
    if (!args[0].empty() && args[0].front() == '-') return Unexpected(args[0]);
    return UsageError(absl::StrCat("unknown command ", base::Quoted(args[0])));
  }
  named_ = command->name;
  bool help = false;
  NPG_RETURN_IF_ERROR(ParseWithCli11(*command->app, {args.begin() + 1, args.end()}, help));
  if (help) return HelpOptions{HelpText(*command->app)};
  NPG_RETURN_IF_ERROR(command->flags.ResolveOne("config", environment));
  ConfigValues config;
  if (!command->config_file->empty()) {
    absl::StatusOr<ConfigValues> values =
        ReadConfigFile(*command->config_file, command->flags.Names({"config"}));
    if (!values.ok()) return values.status();
    config = *std::move(values);
  }
  NPG_RETURN_IF_ERROR(command->flags.Resolve(environment, config, *command->config_file));
  return command->finish(environment);
}

}  // namespace npg::cli
