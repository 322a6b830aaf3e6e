// SPDX-License-Identifier: Apache-2.0
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "integration/rules/random_nft.h"
#include "integration/rules/random_rules.h"

namespace npg::rules::random_rules {

std::vector<std::string> TablesOf(const std::string& text) {
  std::vector<std::string> tables;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    absl::string_view rest = line;
    if (absl::ConsumePrefix(&rest, "table ") && absl::ConsumeSuffix(&rest, " {")) {
      tables.emplace_back(rest);
    }
  }
  return tables;
}

std::string RandomNftChange(Dice& dice, const std::string& table, int number) {
  const std::string port = RandomPort(dice);
  switch (dice.Below(9)) {
    case 0:
      return absl::StrCat("add rule ", table, " base_nat tcp dport ", port,
                          " redirect to :40080\n");
    case 1:
      return absl::StrCat("insert rule ", table, " n1 udp dport ", port, " redirect to :40081\n");
    case 2:
      return absl::StrCat("add element ", table, " ports { ", port, " }\n");
    case 3:
      return absl::StrCat("flush set ", table, " protoports\nadd element ", table,
                          " protoports { tcp . ", port, " }\n");
    case 4:
      return absl::StrCat("flush map ", table, " verdicts\nadd element ", table,
                          " verdicts { tcp . ", port, " comment \"team/late\" : goto f2 }\n");
    case 5:
      return absl::StrCat("add chain ", table, " added", number, "\nadd rule ", table, " added",
                          number, " tcp dport ", port, " redirect to :40443\nadd rule ", table,
                          " base_nat jump added", number, "\n");
    case 6:
      return absl::StrCat("flush chain ", table, " ",
                          dice.Pick({"n0", "n1", "n2", "f0", "f1", "f2"}), "\n");
    case 7:
      return absl::StrCat("add chain ", table, " in", number,
                          " { type filter hook input priority 60; }\nadd rule ", table, " in",
                          number, " ct state new tcp dport ", port, " reject\n");
    default:
      return absl::StrCat("add table ip other", number, "\ndelete table ip other", number,
                          "\nadd rule ", table, " f2 tcp dport ", port, " ct state new drop\n");
  }
}

}  // namespace npg::rules::random_rules
