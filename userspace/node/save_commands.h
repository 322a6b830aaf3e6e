// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_SAVE_COMMANDS_H_
#define NODEPORT_GUARD_NODE_SAVE_COMMANDS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::node {

// Where the programs are that print the rules of one family. Paths; empty
// where there is none.
struct SaveCommands {
  std::string nft;     // prints what is in nf_tables
  std::string legacy;  // prints what is in ip_tables

  bool operator==(const SaveCommands&) const = default;
};

// Looks in `folders`, in that order, for PREFIX-nft-save and PREFIX-legacy-save,
// PREFIX being "iptables" or "ip6tables". Where neither is, plain PREFIX-save
// stands for the variant that its symbolic links lead to, and for both when
// they do not tell (a distribution's wrapper chooses by itself).
SaveCommands FindSaveCommands(absl::string_view prefix, const std::vector<std::string>& folders);

// /usr/sbin, /sbin, and the absolute folders of $PATH.
std::vector<std::string> CommandFolders();

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_SAVE_COMMANDS_H_
