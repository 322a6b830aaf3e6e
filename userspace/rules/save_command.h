// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_SAVE_COMMAND_H_
#define NODEPORT_GUARD_RULES_SAVE_COMMAND_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::rules {

// The path of the program that prints the legacy tables of one family; empty if there is none.
// Searches `folders`, in that order, for PREFIX-legacy-save, with PREFIX "iptables" or "ip6tables".
// Without any PREFIX-legacy-save or PREFIX-nft-save, it is plain PREFIX-save, unless its symbolic
// links lead to the variant for nf_tables (a distribution's wrapper selects the variant itself).
std::string FindLegacySaveCommand(absl::string_view prefix,
                                  const std::vector<std::string>& folders);

// /usr/sbin, /sbin, and the absolute folders of $PATH.
std::vector<std::string> CommandFolders();

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_SAVE_COMMAND_H_
