// SPDX-License-Identifier: Apache-2.0
#include "cli/args/flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/printable.h"
#include "cli/args/config_file.h"
#include "cli/args/environment.h"
#include "cli/exit_code.h"

namespace npg::cli {
namespace {

// "a, b" → "a", "b". Drops empty parts: "a," → "a"; "" → no value.
std::vector<std::string> SplitCommas(const std::vector<std::string>& values) {
  std::vector<std::string> parts;
  for (const std::string& value : values) {
    for (const absl::string_view part : absl::StrSplit(value, ',')) {
      const absl::string_view stripped = absl::StripAsciiWhitespace(part);
      if (!stripped.empty()) parts.emplace_back(stripped);
    }
  }
  return parts;
}

}  // namespace

std::string EnvironmentName(absl::string_view flag_name) {
  return absl::StrCat("NODEPORT_GUARD_",
                      absl::AsciiStrToUpper(absl::StrReplaceAll(flag_name, {{"-", "_"}})));
}

Flag TextFlag(std::string name, std::string value, std::string help, std::string fallback,
              std::shared_ptr<std::string> target) {
  return {std::move(name),
          std::move(value),
          std::move(help),
          std::move(fallback),
          false,
          [target = std::move(target)](const std::vector<std::string>& values) {
            if (values.back().empty()) return absl::InvalidArgumentError("is empty");
            *target = values.back();
            return absl::OkStatus();
          }};
}

Flag ChoiceFlag(std::string name, const std::string& choices, std::string help,
                std::string fallback, std::shared_ptr<std::string> target) {
  return {std::move(name),
          choices,
          std::move(help),
          std::move(fallback),
          false,
          [choices, target = std::move(target)](const std::vector<std::string>& values) {
            const std::vector<std::string> allowed = absl::StrSplit(choices, '|');
            for (const std::string& choice : allowed) {
              if (values.back() != choice) continue;
              *target = choice;
              return absl::OkStatus();
            }
            return absl::InvalidArgumentError(absl::StrCat(
                base::Quoted(values.back()), " is not one of ", absl::StrJoin(allowed, ", ")));
          }};
}

absl::StatusOr<bool> ParseBool(absl::string_view text) {
  for (const char* word : {"true", "yes", "on", "1"}) {
    if (absl::EqualsIgnoreCase(text, word)) return true;
  }
  for (const char* word : {"false", "no", "off", "0"}) {
    if (absl::EqualsIgnoreCase(text, word)) return false;
  }
  return absl::InvalidArgumentError(absl::StrCat(base::Quoted(text), " is neither true nor false"));
}

void FlagSet::Add(Flag flag) {
  std::string names = absl::StrCat("--", flag.name);
  if (const size_t comma = flag.name.find(','); comma != std::string::npos) {
    names = absl::StrCat("-", flag.name.substr(0, comma), ",--", flag.name.substr(comma + 1));
    flag.name.erase(0, comma + 1);
  }
  CLI::Option* option = nullptr;
  if (flag.value.empty()) {
    option = app_->add_flag(names);
  } else {
    option = app_->add_option(names);
    option->type_name(flag.value);
    option->multi_option_policy(flag.repeatable ? CLI::MultiOptionPolicy::TakeAll
                                                : CLI::MultiOptionPolicy::TakeLast);
  }
  option->description(flag.help);
  option->default_str(flag.fallback);
  entries_.push_back({std::move(flag), option});
}

absl::btree_set<std::string> FlagSet::Names(const absl::btree_set<std::string>& except) const {
  absl::btree_set<std::string> names;
  for (const Entry& entry : entries_) {
    if (!except.contains(entry.flag.name)) names.insert(entry.flag.name);
  }
  return names;
}

absl::Status FlagSet::Apply(const Entry& entry, const Environment& environment,
                            const ConfigValues& config, const std::string& config_path) {
  const Flag& flag = entry.flag;
  std::string origin;
  std::vector<std::string> values;
  if (entry.option->count() > 0) {
    origin = absl::StrCat("--", flag.name);
    values = entry.option->results();
    if (!flag.repeatable) values.erase(values.begin(), values.end() - 1);
  } else if (std::optional<std::string> variable = environment(EnvironmentName(flag.name));
             variable && !variable->empty()) {
    origin = EnvironmentName(flag.name);
    values = {*std::move(variable)};
  } else if (const auto it = config.find(flag.name); it != config.end()) {
    origin = absl::StrCat("config file ", config_path, ": ", flag.name);
    values = it->second;
    if (!flag.repeatable && values.size() != 1) {
      return UsageError(absl::StrCat(origin, ": takes one value, not a list"));
    }
  } else {
    return absl::OkStatus();
  }
  if (flag.repeatable) values = SplitCommas(values);
  absl::Status status = flag.set(values);
  if (status.ok()) return status;
  return UsageError(absl::StrCat(origin, ": ", status.message()));
}

absl::Status FlagSet::Resolve(const Environment& environment, const ConfigValues& config,
                              const std::string& config_path) const {
  for (const Entry& entry : entries_) {
    NPG_RETURN_IF_ERROR(Apply(entry, environment, config, config_path));
  }
  return absl::OkStatus();
}

absl::Status FlagSet::ResolveOne(absl::string_view name, const Environment& environment) const {
  for (const Entry& entry : entries_) {
    if (entry.flag.name == name) return Apply(entry, environment, {}, "");
  }
  return absl::OkStatus();
}

}  // namespace npg::cli
