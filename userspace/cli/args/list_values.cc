// SPDX-License-Identifier: Apache-2.0
#include "cli/args/list_values.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/decimal.h"
#include "base/errno_status.h"
#include "base/printable.h"
#include "core/cgroup_glob.h"

namespace npg::cli {

absl::Status CheckProcessNames(const std::vector<std::string>& names) {
  constexpr size_t kMax = abi::kMaxComm;
  for (const std::string& name : names) {
    // A name truncated here would silently match every process with the same prefix.
    if (name.size() > kMax) {
      return absl::InvalidArgumentError(
          absl::StrCat(base::Quoted(name), " is longer than the ", kMax,
                       " bytes that the kernel keeps of a name; write ",
                       base::Quoted(absl::string_view(name).substr(0, kMax)), " if that is meant"));
    }
  }
  // The names of --ignore-process and --only-process must fit into one map.
  if (names.size() > abi::kMaxPolicies / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("names more than ", abi::kMaxPolicies / 2, " processes"));
  }
  return absl::OkStatus();
}

absl::Status CheckCgroupGlobs(const std::vector<std::string>& globs,
                              const std::string& everything) {
  for (const std::string& glob : globs) {
    if (!glob.empty() && glob.find_first_not_of('/') == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          base::Quoted(glob), " selects every cgroup; write ", everything, " if that is meant"));
    }
    NPG_RETURN_IF_ERROR(core::CheckCgroupGlob(glob));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> WithDefault(const std::vector<std::string>& values,
                                                     const std::vector<std::string>& standard) {
  const auto added =
      static_cast<size_t>(std::count_if(values.begin(), values.end(), [](const std::string& value) {
        return absl::StartsWith(value, "+");
      }));
  if (added != 0 && added != values.size()) {
    return absl::InvalidArgumentError(
        "has values with and without '+'; begin each with '+' to add to the default, or none to "
        "replace it");
  }
  std::vector<std::string> all = added != 0 ? standard : std::vector<std::string>();
  for (const std::string& value : values) {
    std::string one(absl::StripPrefix(value, "+"));
    if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(std::move(one));
  }
  return all;
}

absl::StatusOr<std::vector<uint32_t>> ParseUids(const std::vector<std::string>& values,
                                                const std::string& also) {
  std::vector<uint32_t> uids;
  for (const std::string& value : values) {
    const std::optional<uint32_t> uid = base::ParseDecimal<uint32_t>(value);
    // The kernel uses the highest number for "no user".
    if (!uid || *uid == std::numeric_limits<uint32_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat(
          base::Quoted(value), also.empty() ? " is no user id" : " is neither a user id", also,
          "; see 'id -u NAME'"));
    }
    uids.push_back(*uid);
  }
  if (uids.size() > abi::kMaxUids) {
    return absl::InvalidArgumentError(absl::StrCat("names more than ", abi::kMaxUids, " users"));
  }
  return uids;
}

}  // namespace npg::cli
