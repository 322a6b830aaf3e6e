// SPDX-License-Identifier: Apache-2.0
#include "rules/save_command.h"

#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace npg::rules {
namespace {

std::string FindCommand(absl::string_view name, const std::vector<std::string>& folders) {
  for (const std::string& folder : folders) {
    std::string path = absl::StrCat(folder, "/", name);
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return "";
}

}  // namespace

std::string FindLegacySaveCommand(absl::string_view prefix,
                                  const std::vector<std::string>& folders) {
  std::string legacy = FindCommand(absl::StrCat(prefix, "-legacy-save"), folders);
  if (!legacy.empty()) return legacy;
  if (!FindCommand(absl::StrCat(prefix, "-nft-save"), folders).empty()) return "";

  std::string plain = FindCommand(absl::StrCat(prefix, "-save"), folders);
  if (plain.empty()) return "";
  std::array<char, PATH_MAX> resolved{};
  if (realpath(plain.c_str(), resolved.data()) == nullptr) return "";
  const absl::string_view program = resolved.data();
  return absl::StrContains(program.substr(program.rfind('/') + 1), "nft") ? "" : plain;
}

std::vector<std::string> CommandFolders() {
  std::vector<std::string> folders = {"/usr/sbin", "/sbin"};
  const char* const path = std::getenv("PATH");
  if (path == nullptr) return folders;
  for (const absl::string_view folder : absl::StrSplit(path, ':')) {
    // Ignore folders relative to the working directory.
    if (absl::StartsWith(folder, "/")) folders.emplace_back(folder);
  }
  return folders;
}

}  // namespace npg::rules
