// SPDX-License-Identifier: Apache-2.0
#include "node/save_commands.h"

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

namespace npg::node {
namespace {

std::string FindCommand(absl::string_view name, const std::vector<std::string>& folders) {
  for (const std::string& folder : folders) {
    std::string path = absl::StrCat(folder, "/", name);
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return "";
}

}  // namespace

SaveCommands FindSaveCommands(absl::string_view prefix, const std::vector<std::string>& folders) {
  SaveCommands commands;
  commands.nft = FindCommand(absl::StrCat(prefix, "-nft-save"), folders);
  commands.legacy = FindCommand(absl::StrCat(prefix, "-legacy-save"), folders);
  if (!commands.nft.empty() || !commands.legacy.empty()) return commands;

  const std::string plain = FindCommand(absl::StrCat(prefix, "-save"), folders);
  if (plain.empty()) return commands;
  std::array<char, PATH_MAX> resolved{};
  if (realpath(plain.c_str(), resolved.data()) == nullptr) return commands;
  const absl::string_view program = resolved.data();
  const absl::string_view name = program.substr(program.rfind('/') + 1);
  // Before there were two variants, the one program was xtables-multi.
  const bool legacy = absl::StrContains(name, "legacy") || name == "xtables-multi";
  const bool nft = absl::StrContains(name, "nft");
  if (!legacy) commands.nft = plain;
  if (!nft) commands.legacy = plain;
  return commands;
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

}  // namespace npg::node
