// SPDX-License-Identifier: Apache-2.0
#include "integration/rules/random_rules.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "integration/rules/random_iptables.h"
#include "integration/rules/random_nft.h"
#include "testing/command.h"

namespace npg::rules::random_rules {
namespace {

absl::Status Restore(const std::string& command, const std::string& text) {
  if (text.empty()) return absl::OkStatus();
  return testing::RunCommand({command, "--wait", "30"}, text).status();
}

Spice RandomSpice(Dice& dice) {
  const size_t roll = dice.Below(100);
  if (roll < 70) return Spice::kNone;
  return roll < 85 ? Spice::kUnknown : Spice::kChance;
}

}  // namespace

absl::string_view SyntaxName(Syntax syntax) {
  switch (syntax) {
    case Syntax::kNft:
      return "nft";
    case Syntax::kIptablesNft:
      return "iptables-nft";
    case Syntax::kIptablesLegacy:
      return "iptables-legacy";
    case Syntax::kMixed:
      return "mixed";
  }
  return "";
}

const std::vector<uint16_t>& Pool() {
  static const auto& pool = *new std::vector<uint16_t>{
      80,    443,   8080,  10250, 30000, 30001, 30002, 30003, 30004, 30005, 30006, 30007,
      30008, 30009, 31000, 31001, 31002, 31003, 31004, 31005, 31006, 31007, 31008, 31009};
  return pool;
}

const std::vector<uint16_t>& PodPorts() {
  static const auto& ports = *new std::vector<uint16_t>{40080, 40081, 40443};
  return ports;
}

const Addresses& AddressesOf(bool ipv6) {
  static constexpr Addresses kV4{"127.0.0.1", "192.0.2.7", "198.51.100.9"};
  static constexpr Addresses kV6{"::1", "fd00::7", "fd00:1::9"};
  return ipv6 ? kV6 : kV4;
}

std::string RandomPort(Dice& dice) { return absl::StrCat(dice.PickOf(Pool())); }
std::string RandomPodPort(Dice& dice) { return absl::StrCat(dice.PickOf(PodPorts())); }

std::string RandomPorts(Dice& dice, absl::string_view separator) {
  std::set<uint16_t> ports;
  const size_t count = 2 + dice.Below(4);
  while (ports.size() < count) ports.insert(dice.PickOf(Pool()));
  return absl::StrJoin(ports, separator);
}

std::string RandomRange(Dice& dice, absl::string_view dash) {
  const size_t first = dice.Below(Pool().size() - 1);
  const size_t last = std::min(first + 1 + dice.Below(6), Pool().size() - 1);
  return absl::StrCat(Pool().at(first), dash, Pool().at(last));
}

RandomRules Generate(Syntax syntax, uint64_t seed) {
  Dice dice(seed * 4 + static_cast<uint64_t>(syntax));
  RandomRules rules;
  rules.seed = seed;
  rules.syntax = syntax;
  rules.spice = RandomSpice(dice);
  rules.legacy =
      syntax == Syntax::kIptablesLegacy || (syntax == Syntax::kMixed && dice.Percent(50));
  const bool nft = syntax == Syntax::kNft || syntax == Syntax::kMixed;
  const bool iptables = syntax != Syntax::kNft;
  if (nft) {
    // At most one random condition: where several meet, a number of connects proves nothing.
    const bool plain = rules.spice == Spice::kChance && iptables;
    rules.nft = RandomNft(dice, plain ? Spice::kNone : rules.spice);
  }
  if (iptables) {
    rules.ipset = kIpSets;
    const bool chance_in_v6 = dice.Percent(30);
    const auto spice = [&](bool v6) {
      return rules.spice == Spice::kChance && v6 != chance_in_v6 ? Spice::kNone : rules.spice;
    };
    rules.v4 = RandomIptables(dice, spice(false), false);
    rules.v6 = RandomIptables(dice, spice(true), true);
  }
  return rules;
}

absl::Status Install(const RandomRules& rules) {
  const std::string variant = rules.legacy ? "-legacy-restore" : "-nft-restore";
  absl::Status status;
  if (!rules.ipset.empty()) {
    status = testing::RunCommand({"ipset", "restore"}, rules.ipset).status();
  }
  if (status.ok() && !rules.nft.empty()) {
    status = testing::RunCommand({"nft", "-f", "-"}, rules.nft).status();
  }
  if (status.ok()) status = Restore("iptables" + variant, rules.v4);
  if (status.ok()) status = Restore("ip6tables" + variant, rules.v6);
  return status;
}

std::string ToText(const RandomRules& rules) {
  const std::string variant = rules.legacy ? "legacy" : "nft";
  return absl::StrCat("seed ", rules.seed, ", ", SyntaxName(rules.syntax), "\n# ipset\n",
                      rules.ipset, "# nft\n", rules.nft, "# iptables-", variant, "\n", rules.v4,
                      "# ip6tables-", variant, "\n", rules.v6);
}

}  // namespace npg::rules::random_rules
