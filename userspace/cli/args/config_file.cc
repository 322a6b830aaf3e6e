// SPDX-License-Identifier: Apache-2.0
#include "cli/args/config_file.h"

#include <yaml-cpp/yaml.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/printable.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "cli/exit_code.h"

namespace npg::cli {
namespace {

constexpr size_t kMaxBytes = 1 << 20;

absl::Status FileError(const std::string& path, absl::string_view why) {
  return UsageError(absl::StrCat("config file ", path, ": ", why));
}

absl::Status LineError(const std::string& path, const YAML::Mark& mark, absl::string_view why) {
  return FileError(path, absl::StrCat("line ", mark.line + 1, ": ", why));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  // Accepts a pipe, for --config <(...).
  const absl::StatusOr<base::UniqueFd> fd = base::OpenToRead(path);
  absl::StatusOr<std::string> content =
      fd.ok() ? base::ReadRest(fd->get(), path, kMaxBytes) : fd.status();
  if (absl::IsResourceExhausted(content.status())) return FileError(path, "is larger than 1 MiB");
  if (!content.ok()) return UsageError(absl::StrCat("config file ", content.status().message()));
  return content;
}

absl::Status AddValue(const std::string& path, const YAML::Node& key, const YAML::Node& value,
                      std::vector<std::string>& values) {
  if (!value.IsScalar()) {
    return LineError(path, key.Mark(),
                     absl::StrCat(base::Quoted(key.Scalar()), " has no plain value"));
  }
  values.push_back(value.Scalar());
  return absl::OkStatus();
}

absl::StatusOr<ConfigValues> Convert(const std::string& path, const YAML::Node& root,
                                     const absl::btree_set<std::string>& known) {
  ConfigValues values;
  if (root.IsNull()) return values;  // only comments
  if (!root.IsMap()) return FileError(path, "is not a YAML mapping of flag names to values");
  for (const auto& entry : root) {
    if (!entry.first.IsScalar()) return LineError(path, entry.first.Mark(), "is not a flag name");
    const std::string& key = entry.first.Scalar();
    if (!known.contains(key)) {
      return LineError(path, entry.first.Mark(), absl::StrCat("unknown key ", base::Quoted(key)));
    }
    if (values.contains(key)) {
      return LineError(path, entry.first.Mark(),
                       absl::StrCat(base::Quoted(key), " is there twice"));
    }
    std::vector<std::string>& list = values[key];
    if (!entry.second.IsSequence()) {
      NPG_RETURN_IF_ERROR(AddValue(path, entry.first, entry.second, list));
      continue;
    }
    for (const YAML::Node& item : entry.second) {
      NPG_RETURN_IF_ERROR(AddValue(path, entry.first, item, list));
    }
  }
  return values;
}

}  // namespace

absl::StatusOr<ConfigValues> ReadConfigFile(const std::string& path,
                                            const absl::btree_set<std::string>& known) {
  const absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(*content);
    if (documents.size() > 1) return FileError(path, "holds more than one YAML document");
    return Convert(path, documents.empty() ? YAML::Node() : documents[0], known);
  } catch (const YAML::Exception& error) {
    return LineError(path, error.mark, error.msg);
  }
}

}  // namespace npg::cli
