// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_FLAGS_H_
#define NODEPORT_GUARD_CLI_ARGS_FLAGS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/args/cli11.h"
#include "cli/args/config_file.h"
#include "cli/args/environment.h"

namespace npg::cli {

// One flag. It has one name in four places: --mark-mask, NODEPORT_GUARD_MARK_MASK,
// "mark-mask:" in a config file, and messages.
struct Flag {
  std::string name;         // "mark-mask"; with a short form: "o,output"
  std::string value;        // its placeholder in --help: "MASK", "a|b" for a choice; "" = a switch
  std::string help;         // a sentence
  std::string fallback;     // the default, for --help; "" = not shown
  bool repeatable = false;  // all values count, and a comma separates; otherwise the last one does
  // Takes the value (for a repeatable flag, all of them; for a switch "true" or
  // "false"). Called only when the flag was given somewhere. Its error describes
  // the value; the caller puts the name before it.
  std::function<absl::Status(const std::vector<std::string>& values)> set;
};

// "NODEPORT_GUARD_MARK_MASK" of "mark-mask".
std::string EnvironmentName(absl::string_view flag_name);

// The flags of one subcommand. CLI11 splits the command line and has the flags
// for --help and the documentation. FlagSet selects the origin of each value and
// parses it, so that an invalid one is reported alike from every origin.
class FlagSet {
 public:
  explicit FlagSet(CLI::App* app) : app_(app) {}

  void Add(Flag flag);

  // The names of the flags, without `except`.
  absl::btree_set<std::string> Names(const absl::btree_set<std::string>& except) const;

  // Sets every flag, after the app has parsed: from the command line, else from
  // its environment variable (unless that is empty), else from `config`. Usage
  // errors name the origin.
  absl::Status Resolve(const Environment& environment, const ConfigValues& config,
                       const std::string& config_path) const;

  // The same for one flag, without a config file: for the flag that names that file.
  absl::Status ResolveOne(absl::string_view name, const Environment& environment) const;

 private:
  struct Entry {
    Flag flag;
    CLI::Option* option;
  };

  static absl::Status Apply(const Entry& entry, const Environment& environment,
                            const ConfigValues& config, const std::string& config_path);

  CLI::App* app_;
  std::vector<Entry> entries_;
};

// A flag whose target becomes any text that is not empty.
Flag TextFlag(std::string name, std::string value, std::string help, std::string fallback,
              std::shared_ptr<std::string> target);

// A flag whose target becomes one of `choices`, "a|b|c".
Flag ChoiceFlag(std::string name, const std::string& choices, std::string help,
                std::string fallback, std::shared_ptr<std::string> target);

// Setters for values that several flags share.
absl::StatusOr<bool> ParseBool(absl::string_view text);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_FLAGS_H_
