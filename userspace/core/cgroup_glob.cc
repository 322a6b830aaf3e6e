// SPDX-License-Identifier: Apache-2.0
#include "core/cgroup_glob.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/printable.h"

namespace npg::core {
namespace {

std::vector<std::string> PartsOf(absl::string_view path) {
  return absl::StrSplit(path, '/', absl::SkipEmpty());
}

bool Fits(const std::string& glob, const std::string& name) {
  return glob == "**" || fnmatch(glob.c_str(), name.c_str(), FNM_NOESCAPE) == 0;
}

// How many parts of the path fit, one for each part of the pattern, until the first "**".
size_t FittingPrefix(const std::vector<std::string>& glob, const std::vector<std::string>& path) {
  size_t fitting = 0;
  while (fitting < std::min(glob.size(), path.size()) && glob[fitting] != "**" &&
         Fits(glob[fitting], path[fitting])) {
    ++fitting;
  }
  return fitting;
}

}  // namespace

absl::Status CheckCgroupGlob(absl::string_view glob) {
  if (glob.empty() || glob.front() != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat(base::Quoted(glob),
                     " is not the path of a cgroup; it begins with '/', as in "
                     "/system.slice/**"));
  }
  const std::vector<std::string> parts = PartsOf(glob);
  if (parts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        base::Quoted(glob), " selects every cgroup; write --guard-uid any if that is meant"));
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == "." || parts[i] == "..") {
      return absl::InvalidArgumentError(absl::StrCat(base::Quoted(glob), " contains ", parts[i]));
    }
    const bool last = i + 1 == parts.size();
    if (parts[i].find("**") != std::string::npos && (parts[i] != "**" || !last)) {
      return absl::InvalidArgumentError(absl::StrCat(
          base::Quoted(glob), " has ** elsewhere than at its end; write * for one cgroup"));
    }
  }
  return absl::OkStatus();
}

bool SelectsCgroup(absl::string_view glob, absl::string_view path) {
  const std::vector<std::string> globs = PartsOf(glob);
  const std::vector<std::string> parts = PartsOf(path);
  if (parts.size() < globs.size()) return false;
  return std::equal(globs.begin(), globs.end(), parts.begin(), Fits);
}

bool MaySelectBelow(absl::string_view glob, absl::string_view path) {
  const std::vector<std::string> globs = PartsOf(glob);
  const std::vector<std::string> parts = PartsOf(path);
  return parts.size() < globs.size() && FittingPrefix(globs, parts) == parts.size();
}

}  // namespace npg::core
