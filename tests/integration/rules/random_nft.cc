// SPDX-License-Identifier: Apache-2.0
#include "integration/rules/random_nft.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "integration/rules/random_rules.h"

namespace npg::rules::random_rules {
namespace {

constexpr int kChainsOfAKind = 3;

// Where a rule is: what it may contain depends on it.
enum class NftPlace : uint8_t { kNat, kFilter, kRaw };

// Writes one table.
class NftTable {
 public:
  NftTable(Dice& dice, Spice& spice, std::string family, size_t number)
      : dice_(dice), spice_(spice), family_(std::move(family)), number_(number) {}

  std::string Write() {
    const std::string rules = Chains();
    return absl::StrCat("table ", family_, " t", number_, " {\n", Sets(), rules, "}\n");
  }

 private:
  // Whether addresses are IPv6: always the same but in tables of the family inet.
  bool RandomV6() { return family_ == "ip6" || (family_ == "inet" && dice_.Percent(50)); }
  // nft refuses rules whose parts contradict each other: each rule has a family and protocols.
  void BeginRule() {
    v6_ = RandomV6();
    proto_ = dice_.Pick({"tcp", "tcp", "udp", "{ tcp, udp }"});
  }
  std::string Dport() const {
    return proto_.front() == '{' ? "meta l4proto { tcp, udp } th dport" : proto_ + " dport";
  }
  static std::string Ip(bool v6) { return v6 ? "ip6" : "ip"; }
  static std::string AddressType(bool v6) { return v6 ? "ipv6_addr" : "ipv4_addr"; }
  std::string Address(bool v6) {
    const Addresses& all = AddressesOf(v6);
    return dice_.Pick({all.loopback, all.loopback, all.node, all.node, all.pod});
  }
  std::string Not(size_t percent = 20) { return dice_.Percent(percent) ? "!= " : ""; }
  // Of the named sets and maps, per family of addresses.
  std::string SetSuffix(bool v6) const { return family_ == "inet" && v6 ? "_6" : ""; }

  std::string Sets() {
    std::string text = absl::StrCat(
        "  set ports {\n    type inet_service\n    elements = { ", RandomPorts(dice_, ", "),
        " }\n  }\n  set ranges {\n    type inet_service\n    flags interval\n    elements = { ",
        RandomPort(dice_), ", 32000-32010 }\n  }\n",
        "  set protoports {\n    type inet_proto . inet_service\n    elements = { tcp . ",
        RandomPort(dice_), ", udp . ", RandomPort(dice_), " }\n  }\n",
        "  map verdicts {\n    type inet_proto . inet_service : verdict\n    elements = { tcp . "
        "30001 "
        "comment \"team/web:http\" : ",
        MapVerdict(), ", udp . ", RandomPort(dice_), " : ", MapVerdict(), " }\n  }\n",
        "  map natverdicts {\n    type inet_service : verdict\n    flags interval\n    elements = "
        "{ ",
        "30002 comment \"team/api\" : goto n2, 31000-31003 : jump n2 }\n  }\n");
    const auto addressed = [&](bool v6) {
      const std::string type = AddressType(v6);
      const std::string suffix = SetSuffix(v6);
      absl::StrAppend(&text, "  set addresses", suffix, " {\n    type ", type,
                      "\n    elements = { ", Address(v6), " }\n  }\n  set sockets", suffix,
                      " {\n    type ", type, " . inet_proto . inet_service\n    elements = { ");
      absl::StrAppend(
          &text, Address(v6), " . tcp . ", RandomPort(dice_), ", ", Address(v6), " . udp . ",
          RandomPort(dice_), " }\n  }\n  set nets", suffix, " {\n    type ", type,
          " . inet_service\n    flags interval\n    elements = { ",
          v6 ? "fd00::/64" : "127.0.0.0/8", " . 30003-30006, ", Address(v6), " . 31005 }\n  }\n");
      absl::StrAppend(
          &text, "  map pods", suffix, " {\n    type inet_proto . inet_service : ", type,
          " . inet_service\n    elements = { tcp . ", RandomPort(dice_),
          " comment \"team/pod\" : ", Address(v6), " . ", RandomPodPort(dice_), ", udp . ",
          RandomPort(dice_), " : ", AddressesOf(v6).pod, " . ", RandomPodPort(dice_), " }\n  }\n");
    };
    if (family_ != "ip6") addressed(false);
    if (family_ != "ip") addressed(true);
    return text;
  }
  // Chains of the filter kind: maps of verdicts are for any hook.
  std::string MapVerdict() {
    return dice_.Pick({"drop", "accept", "goto f2", "jump f2", "return"});
  }

  std::string PortMatch() {
    switch (dice_.Below(12)) {
      case 0:
      case 1:
      case 2:
        return absl::StrCat(Dport(), " ", Not(10), RandomPort(dice_));
      case 3:
        return absl::StrCat(Dport(), " ", Not(10), RandomRange(dice_, "-"));
      case 4:
        return absl::StrCat(Dport(), " ", Not(10), "{ ", RandomPorts(dice_, ", "), " }");
      case 5:
        return absl::StrCat("meta l4proto ", proto_, " th dport ", RandomPort(dice_));
      case 6:
        return absl::StrCat("meta l4proto ", proto_, " th dport { ", RandomPorts(dice_, ", "),
                            " }");
      case 7:
        return absl::StrCat(Dport(), " ", Not(10), dice_.Pick({"@ports", "@ranges"}));
      case 8:
        return absl::StrCat("meta l4proto . th dport ", Not(10), "@protoports");
      case 9: {
        const bool v6 = v6_;
        return absl::StrCat(Ip(v6), " daddr . meta l4proto . th dport ", Not(10), "@sockets",
                            SetSuffix(v6));
      }
      case 10: {
        const bool v6 = v6_;
        const std::string meta = absl::StrCat("meta l4proto ", proto_, " ");
        if (dice_.Percent(50)) {
          return absl::StrCat(meta, Ip(v6), " daddr . th dport @nets", SetSuffix(v6));
        }
        return absl::StrCat(meta, Ip(v6), " daddr . th dport ", Not(10), "{ ", Address(v6), " . ",
                            RandomPort(dice_), ", ", Address(v6), " . 31009 }");
      }
      default:
        return absl::StrCat(Dport(), " ",
                            dice_.Pick({"< 1024", ">= 31005", "& 0x1 == 0x1", "& 0xfff8 == 0x7530",
                                        "!= 30000-32767"}));
    }
  }

  std::string AddressMatch() {
    const bool v6 = v6_;
    const std::string ip = Ip(v6);
    switch (dice_.Below(6)) {
      case 0:
      case 1:
        return absl::StrCat(ip, " daddr ", Not(), Address(v6));
      case 2:
        return absl::StrCat(ip, " daddr ", Not(), v6 ? "fd00::/16" : "127.0.0.0/8");
      case 3:
        return absl::StrCat(ip, " saddr ", Not(), Address(v6));
      case 4:
        return absl::StrCat(ip, " daddr ", Not(), "@addresses", SetSuffix(v6));
      default:
        return v6 ? absl::StrCat("ip6 daddr ", Not(), "{ ::1, fd00::1-fd00::9 }")
                  : absl::StrCat("ip daddr ", Not(), "192.0.2.1-192.0.2.9");
    }
  }

  std::string OtherMatch(NftPlace place) {
    switch (dice_.Below(place == NftPlace::kRaw ? 6 : 8)) {
      case 0:
        return absl::StrCat("fib daddr type ", Not(), dice_.Pick({"local", "local", "unicast"}));
      case 1:
        return dice_.Pick({"oifname \"lo\"", "oif \"lo\"", "iifname != \"lo\"", "oifname \"eth*\"",
                           "iifname \"lo\"", "oifname != \"eth0\"", "iif \"lo\"", "oifname \"l*\"",
                           "oifname { \"lo\", \"eth1\" }"});
      case 2:
        return absl::StrCat("meta mark ",
                            dice_.Pick({"0x0", "0x10", "& 0x10 == 0x10", "!= 0x0", "& 0x30 != 0x0",
                                        "{ 0x10, 0x20 }", "0x1-0x20"}));
      case 3:
        if (proto_ != "tcp") return "meta l4proto " + proto_;
        return dice_.Pick({"tcp flags syn", "tcp flags & (fin | syn | rst | ack) == syn",
                           "tcp flags != syn", "meta l4proto tcp", "tcp flags & ack == ack"});
      case 4:
        if (family_ != "inet") return "fib saddr type local";
        return v6_ ? "meta nfproto ipv6" : "meta nfproto ipv4";
      case 5:
        return "meta l4proto " + proto_;
      case 6:
        return dice_.Pick({"ct state new", "ct state established,related", "ct state != new",
                           "ct state { new, untracked }", "ct state untracked", "ct state invalid",
                           "ct state new,established"});
      default:
        return "ct mark 0x0";
    }
  }

  // At most one condition of the spice that the rule set has.
  std::string SpiceMatch() {
    if (spice_ == Spice::kNone || !dice_.Percent(25)) return "";
    if (spice_ == Spice::kChance) {
      spice_ = Spice::kNone;
      return dice_.Pick({"numgen random mod 2 0 ", "numgen random mod 3 != 1 "});
    }
    return dice_.Pick({"meta skuid 0 ", "meta skgid != 0 ", "meta cgroup 0 ", "ct status dnat ",
                       "meta skuid { 0, 1000 } ", "meta length 20-200 "});
  }

  std::string Matches(NftPlace place, size_t port_percent) {
    std::string text;
    if (dice_.Percent(25)) absl::StrAppend(&text, OtherMatch(place), " ");
    if (dice_.Percent(35)) absl::StrAppend(&text, AddressMatch(), " ");
    if (dice_.Percent(port_percent)) absl::StrAppend(&text, PortMatch(), " ");
    if (dice_.Percent(10)) absl::StrAppend(&text, OtherMatch(place), " ");
    absl::StrAppend(&text, SpiceMatch());
    if (dice_.Percent(15)) absl::StrAppend(&text, "counter ");
    return text;
  }

  std::string NatVerdict() {
    const bool v6 = v6_;
    const std::string ip = Ip(v6);
    const std::string target =
        absl::StrCat(v6 ? "[" : "", Address(v6), v6 ? "]" : "", ":", RandomPodPort(dice_));
    const std::string to = absl::StrCat("dnat ", ip, " to ");
    switch (dice_.Below(10)) {
      case 0:
        return absl::StrCat("redirect to :", RandomPodPort(dice_));
      case 1:
        return absl::StrCat(to, Address(v6));
      case 2:
        return dice_.Percent(70) ? absl::StrCat("redirect to :", RandomPort(dice_)) : "redirect";
      case 3:
        return absl::StrCat("dnat ", ip, " addr . port to meta l4proto . th dport map @pods",
                            SetSuffix(v6));
      case 4:
        return absl::StrCat("dnat ", ip, " addr . port to th dport map { ", RandomPort(dice_),
                            " : ", Address(v6), " . ", RandomPodPort(dice_), " }");
      case 5:
        return absl::StrCat("redirect to :th dport map { ", RandomPort(dice_),
                            " : 40080, 32011 : 40443 }");
      case 6:
        return absl::StrCat("dnat ", ip,
                            " addr . port to numgen random mod 2 map { 0 : ", Address(v6),
                            " . 40080, 1 : ", Address(v6), " . 40081 }");
      default:
        return to + target;
    }
  }

  std::string RulesOf(NftPlace place, int level, size_t count) {
    std::string text;
    for (size_t i = 0; i < count; ++i) absl::StrAppend(&text, "    ", RuleAt(place, level), "\n");
    return text;
  }

  // In a chain of `level`, 0 for base chains: jumps lead to higher ones only.
  std::string RuleAt(NftPlace place, int level) {
    BeginRule();
    const size_t roll = dice_.Below(100);
    const char* letter = place == NftPlace::kNat ? "n" : "f";
    if (roll < 25 && level < kChainsOfAKind && place != NftPlace::kRaw) {
      const size_t to =
          static_cast<size_t>(level) + dice_.Below(static_cast<size_t>(kChainsOfAKind - level));
      return absl::StrCat(Matches(place, 40), dice_.Pick({"jump ", "jump ", "goto "}), letter, to);
    }
    if (roll < 37) {
      return absl::StrCat(Matches(place, 50), "meta mark set ",
                          dice_.Pick({"0x10", "0x20", "meta mark | 0x10", "meta mark & 0xffffffef",
                                      "meta mark ^ 0x20"}));
    }
    if (place == NftPlace::kRaw) {
      return absl::StrCat(Matches(place, 95), dice_.Pick({"notrack", "notrack", "drop", "accept"}));
    }
    if (roll < 45) return absl::StrCat(Matches(place, 90), dice_.Pick({"return", "accept"}));
    if (place == NftPlace::kNat) {
      if (roll < 55 && level < 3) return absl::StrCat(Dport(), " vmap @natverdicts");
      return absl::StrCat(Matches(place, 85), "meta l4proto ", proto_, " ", NatVerdict());
    }
    if (roll < 55 && level < 3) {
      return absl::StrCat(Matches(place, 0), "meta l4proto . th dport vmap @verdicts");
    }
    if (roll < 63) {
      return absl::StrCat(Matches(place, 0), Dport(), " vmap { ", RandomPort(dice_),
                          " : drop, 32001-32005 : accept }");
    }
    const std::string state = dice_.Percent(50) ? "ct state new " : "";
    return absl::StrCat(state, Matches(place, 92),
                        dice_.Pick({"reject", "drop", "accept", "reject"}));
  }

  std::string Base(absl::string_view name, absl::string_view type, absl::string_view hook,
                   int priority, NftPlace place) {
    const bool drops = place == NftPlace::kFilter && dice_.Percent(6);
    return absl::StrCat("  chain ", name, " {\n    type ", type, " hook ", hook, " priority ",
                        priority + static_cast<int>(number_), "; policy ",
                        drops ? "drop" : "accept", ";\n", RulesOf(place, 0, 2 + dice_.Below(5)),
                        "  }\n");
  }

  std::string Chains() {
    std::string text;
    // Rules are written from the leaves up: a jump needs its chain.
    for (int level = kChainsOfAKind - 1; level >= 0; --level) {
      absl::StrAppend(&text, "  chain f", level, " {\n",
                      RulesOf(NftPlace::kFilter, level + 1, 1 + dice_.Below(4)), "  }\n  chain n",
                      level, " {\n", RulesOf(NftPlace::kNat, level + 1, 1 + dice_.Below(4)),
                      "  }\n");
    }
    absl::StrAppend(&text, Base("base_nat", "nat", "output", -108, NftPlace::kNat));
    if (dice_.Percent(30)) {
      absl::StrAppend(&text, Base("late_dnat", "nat", "output", -95, NftPlace::kNat));
    }
    if (dice_.Percent(25)) {
      absl::StrAppend(&text, Base("base_early", "filter", "output", -350, NftPlace::kRaw));
    }
    if (dice_.Percent(25)) {
      absl::StrAppend(&text, Base("base_before", "filter", "output", -140, NftPlace::kFilter));
    }
    if (dice_.Percent(60)) {
      absl::StrAppend(&text, Base("base_out", "filter", "output", 20, NftPlace::kFilter));
    }
    if (dice_.Percent(70)) {
      absl::StrAppend(&text, Base("base_in", "filter", "input", dice_.Percent(50) ? -20 : 30,
                                  NftPlace::kFilter));
    }
    return text;
  }

  Dice& dice_;
  Spice& spice_;
  const std::string family_;
  const size_t number_;
  bool v6_ = false;
  std::string proto_;
};

}  // namespace

std::string RandomNft(Dice& dice, Spice spice) {
  std::string text;
  const size_t tables = 1 + dice.Below(3);
  for (size_t i = 0; i < tables; ++i) {
    absl::StrAppend(&text,
                    NftTable(dice, spice, dice.Pick({"ip", "ip", "ip6", "inet"}), i).Write());
  }
  return text;
}

}  // namespace npg::rules::random_rules
