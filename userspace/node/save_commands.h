// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_SAVE_COMMANDS_H_
#define NODEPORT_GUARD_NODE_SAVE_COMMANDS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::node {

// Paths of the programs that print the rules of one family; empty if there is none.
struct SaveCommands {
  std::string nft;     // prints what is in nf_tables
  std::string legacy;  // prints what is in ip_tables

  bool operator==(const SaveCommands&) const = default;
};

// Searches `folders`, in that order, for PREFIX-nft-save and PREFIX-legacy-save, with
// PREFIX "iptables" or "ip6tables". If neither exists, plain PREFIX-save is used for the
// variant that its symbolic links lead to, or for both if that is not clear (a
// distribution's wrapper selects one itself).
SaveCommands FindSaveCommands(absl::string_view prefix, const std::vector<std::string>& folders);

// /usr/sbin, /sbin, and the absolute folders of $PATH.
std::vector<std::string> CommandFolders();

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_SAVE_COMMANDS_H_
