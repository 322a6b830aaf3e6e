// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <sys/types.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "cli/args/options.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;

// True for text that every YAML reader parses as a string without quotes: no times,
// no numbers, none of the spellings of true, false and null.
bool IsPlainYaml(absl::string_view text) {
  if (text.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(text[0]))) return false;
  const bool simple = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           absl::string_view(" ./_-").find(c) != absl::string_view::npos;
  });
  if (!simple) return false;
  if (text.back() == ' ') return false;
  constexpr std::array<const char*, 9> kWords = {"true", "false", "yes", "no", "on",
                                                 "off",  "null",  "y",   "n"};
  return std::none_of(kWords.begin(), kWords.end(),
                      [text](const char* word) { return absl::EqualsIgnoreCase(text, word); });
}

void EmitYaml(YAML::Emitter& out, const Json& value) {
  if (value.is_object()) {
    if (value.empty()) out << YAML::Flow;
    out << YAML::BeginMap;
    for (const auto& [key, member] : value.items()) {
      out << YAML::Key << key << YAML::Value;
      EmitYaml(out, member);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    if (value.empty()) out << YAML::Flow;
    out << YAML::BeginSeq;
    for (const Json& item : value) EmitYaml(out, item);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (!IsPlainYaml(text)) out << YAML::DoubleQuoted;
    out << text;
  } else if (value.is_null()) {
    out << YAML::Null;
  } else {
    // JSON and YAML write numbers, true and false alike.
    out << value.dump();
  }
}

}  // namespace

std::string ToJsonLine(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string ToDocument(const Json& value, OutputFormat format) {
  if (format == OutputFormat::kJson) {
    return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  // From JSON text, in which invalid UTF-8 is already replaced.
  YAML::Emitter out;
  EmitYaml(out, Json::parse(ToJsonLine(value)));
  return absl::StrCat(out.c_str(), "\n");
}

absl::Status WriteOut(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::ErrnoStatus(errno, "write to standard output");
    text.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace npg::cli
