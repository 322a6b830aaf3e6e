// SPDX-License-Identifier: Apache-2.0
#include "integration/rules/random_iptables.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "integration/rules/random_rules.h"

namespace npg::rules::random_rules {

const char kIpSets[] =
    "create ports4 hash:ip,port family inet\n"
    "create ports6 hash:ip,port family inet6\n"
    "create nodes4 hash:ip family inet\n"
    "create nodes6 hash:ip family inet6\n"
    "create nets4 hash:net family inet\n"
    "create nets6 hash:net family inet6\n"
    "create numbers bitmap:port range 0-65535\n"
    "add ports4 127.0.0.1,tcp:30001\nadd ports4 192.0.2.7,udp:30002\nadd ports4 "
    "192.0.2.7,tcp:31001\n"
    "add ports6 ::1,tcp:30003\nadd ports6 fd00::7,udp:30004\n"
    "add nodes4 192.0.2.7\nadd nodes6 fd00::7\nadd nets4 127.0.0.0/8\nadd nets6 fd00::/64\n"
    "add numbers 30005\nadd numbers 443\nadd numbers 31002-31004\n";

namespace {

constexpr int kIptablesLevels = 3;

enum class IptablesPlace : uint8_t { kRaw, kMangle, kNat, kFilter };

// Writes the tables of one family.
class Iptables {
 public:
  Iptables(Dice& dice, Spice spice, bool v6) : dice_(dice), spice_(spice), v6_(v6) {}

  std::string Write() {
    std::string text;
    if (dice_.Percent(30)) text += Table("raw", IptablesPlace::kRaw);
    if (dice_.Percent(40)) text += Table("mangle", IptablesPlace::kMangle);
    text += Table("nat", IptablesPlace::kNat);
    if (dice_.Percent(75)) text += Table("filter", IptablesPlace::kFilter);
    return text;
  }

 private:
  std::string Not(size_t percent = 15) { return dice_.Percent(percent) ? "! " : ""; }
  std::string Address() {
    const Addresses& all = AddressesOf(v6_);
    return dice_.Pick({all.loopback, all.loopback, all.node, all.node, all.pod});
  }
  std::string Proto() { return dice_.Pick({"tcp", "tcp", "udp"}); }
  std::string Family() const { return v6_ ? "6" : "4"; }

  // With the protocol, which a rule has once.
  std::string PortMatch() {
    const std::string proto = Proto();
    const std::string p = absl::StrCat("-p ", proto, " -m ", proto, " ");
    switch (dice_.Below(8)) {
      case 0:
      case 1:
      case 2:
        return absl::StrCat(p, Not(10), "--dport ", RandomPort(dice_), " ");
      case 3:
        return absl::StrCat(p, Not(10), "--dport ", RandomRange(dice_, ":"), " ");
      case 4:
        return absl::StrCat("-p ", proto, " -m multiport ", Not(10), "--dports ",
                            RandomPorts(dice_, ","), " ");
      case 5:
        return absl::StrCat("-p ", proto, " -m multiport --dports ", RandomRange(dice_, ":"),
                            ",443 ");
      case 6:
        return absl::StrCat(
            "-p tcp -m tcp --dport ", RandomPort(dice_), " ",
            dice_.Pick({"--syn ", "--tcp-flags SYN,ACK SYN ", "! --syn ", "--tcp-flags FIN FIN "}));
      default:
        return absl::StrCat("-p ", proto, " -m set ", Not(10), "--match-set ",
                            dice_.Percent(50) ? absl::StrCat("ports", Family(), " dst,dst ")
                                              : std::string("numbers dst "));
    }
  }

  std::string AddressMatch() {
    switch (dice_.Below(8)) {
      case 0:
      case 1:
        return absl::StrCat(Not(), "-d ", Address(), " ");
      case 2:
        return absl::StrCat(Not(), "-d ", v6_ ? "fd00::/16 " : "127.0.0.0/8 ");
      case 3:
        return absl::StrCat(Not(), "-s ", Address(), " ");
      case 4:
        return absl::StrCat(
            "-m addrtype ", Not(), "--dst-type ",
            dice_.Pick({"LOCAL ", "LOCAL ", "UNICAST ", v6_ ? "LOCAL " : "LOCAL,BROADCAST "}));
      case 5:
        return absl::StrCat("-m addrtype --src-type LOCAL ");
      case 6:
        return absl::StrCat("-m iprange ", Not(), dice_.Pick({"--dst-range ", "--src-range "}),
                            v6_ ? "fd00::1-fd00::9 " : "192.0.2.1-192.0.2.9 ");
      default:
        return absl::StrCat("-m set ", Not(), "--match-set ", dice_.Pick({"nodes", "nets"}),
                            Family(), dice_.Pick({" dst ", " src "}));
    }
  }

  std::string OtherMatch(IptablesPlace place, bool input) {
    switch (dice_.Below(place == IptablesPlace::kRaw ? 3 : 5)) {
      case 0:
        if (input) return dice_.Pick({"-i lo ", "! -i lo ", "-i eth0 ", "! -i eth+ "});
        return dice_.Pick({"-o lo ", "! -o lo ", "-o eth0 ", "! -o eth+ ", "-o l+ "});
      case 1:
        return absl::StrCat(
            "-m mark ", Not(), "--mark ",
            dice_.Pick({"0x0 ", "0x10/0x10 ", "0x10 ", "0x4000/0x4000 ", "0x0/0x30 "}));
      case 2:
        return "-m comment --comment \"team/web:http is \\\"odd\\\"\" ";
      case 3:
        return absl::StrCat("-m conntrack ", Not(), "--ctstate ",
                            dice_.Pick({"NEW ", "NEW ", "RELATED,ESTABLISHED ", "UNTRACKED ",
                                        "NEW,UNTRACKED ", "INVALID "}));
      default:
        return dice_.Pick(
            {"-m state --state NEW ", "-m state ! --state NEW ", "-m connmark --mark 0x0 "});
    }
  }

  std::string SpiceMatch(bool input) {
    if (spice_ == Spice::kNone || !dice_.Percent(25)) return "";
    if (spice_ == Spice::kChance) {
      spice_ = Spice::kNone;
      return "-m statistic --mode random --probability 0.5 ";
    }
    if (input) return dice_.Pick({"-m length --length 28:80 ", "-m length ! --length 1000 "});
    return dice_.Pick({"-m owner --uid-owner 0 ", "-m owner ! --gid-owner 0 ",
                       "-m length --length 28:80 ", "-m length ! --length 1000 ",
                       "-m conntrack --ctdir ORIGINAL ", "-m conntrack --ctproto tcp "});
  }

  std::string Matches(IptablesPlace place, bool input, size_t port_percent) {
    std::string text;
    if (dice_.Percent(port_percent)) text += PortMatch();
    if (dice_.Percent(35)) text += AddressMatch();
    if (dice_.Percent(25)) text += OtherMatch(place, input);
    return text + SpiceMatch(input);
  }

  std::string NatRule() {
    // A target with a port wants the protocol in its own rule.
    std::string text = Matches(IptablesPlace::kNat, false, 100);
    const std::string address = v6_ ? absl::StrCat("[", Address(), "]") : Address();
    switch (dice_.Below(6)) {
      case 0:
        return absl::StrCat(text, "-j REDIRECT --to-ports ", RandomPodPort(dice_));
      case 1:
        return absl::StrCat(text, "-j REDIRECT");
      case 2:
        return absl::StrCat(text, "-j DNAT --to-destination ", Address());
      case 3:
        return absl::StrCat(text, "-j DNAT --to-destination :", RandomPodPort(dice_));
      default:
        return absl::StrCat(text, "-j DNAT --to-destination ", address, ":", RandomPodPort(dice_));
    }
  }

  std::string RuleAt(IptablesPlace place, bool input, int level) {
    const size_t roll = dice_.Below(100);
    if (roll < 25 && level < kIptablesLevels) {
      const size_t to =
          static_cast<size_t>(level) + dice_.Below(static_cast<size_t>(kIptablesLevels - level));
      // User-defined chains are for one hook: matches of interfaces would not load in the other.
      return absl::StrCat(Matches(place, input, 40), dice_.Pick({"-j ", "-j ", "-g "}),
                          input ? "IN" : "OUT", to);
    }
    if (roll < 40 && place != IptablesPlace::kRaw) {
      return absl::StrCat(Matches(place, input, 50), "-j MARK ", MarkOptions());
    }
    if (roll < 50)
      return absl::StrCat(Matches(place, input, 92), dice_.Pick({"-j RETURN", "-j ACCEPT"}));
    switch (place) {
      case IptablesPlace::kNat:
        return NatRule();
      case IptablesPlace::kRaw:
        return absl::StrCat(Matches(place, input, 95),
                            dice_.Pick({"-j CT --notrack", "-j CT --notrack", "-j DROP"}));
      case IptablesPlace::kMangle:
        return absl::StrCat(Matches(place, input, 95), "-j DROP");
      case IptablesPlace::kFilter:
        break;
    }
    const std::string state = dice_.Percent(40) ? "-m conntrack --ctstate NEW " : "";
    return absl::StrCat(Matches(place, input, 94), state,
                        dice_.Pick({"-j REJECT", "-j REJECT", "-j DROP", "-j ACCEPT"}));
  }

  // --or-mark and the like are other spellings of --set-xmark.
  std::string MarkOptions() {
    return dice_.Pick({"--set-xmark 0x10/0x10", "--set-xmark 0x4000/0x4000", "--or-mark 0x20",
                       "--and-mark 0xffffffef", "--xor-mark 0x10", "--set-mark 0x10"});
  }

  std::string Chain(IptablesPlace place, const std::string& name, bool input, int level) {
    std::string text;
    const size_t count = (level == 0 ? 2 : 1) + dice_.Below(4);
    for (size_t i = 0; i < count; ++i) {
      absl::StrAppend(&text, "-A ", name, " ", RuleAt(place, input, level), "\n");
    }
    return text;
  }

  std::string Table(absl::string_view name, IptablesPlace place) {
    const bool has_input = place == IptablesPlace::kFilter || place == IptablesPlace::kMangle;
    const bool drops = place == IptablesPlace::kFilter && dice_.Percent(6);
    std::string heads =
        absl::StrCat("*", name, "\n:OUTPUT ", drops ? "DROP" : "ACCEPT", " [0:0]\n");
    if (has_input) absl::StrAppend(&heads, ":INPUT ACCEPT [0:0]\n");
    std::string rules = Chain(place, "OUTPUT", false, 0);
    if (has_input) rules += Chain(place, "INPUT", true, 0);
    for (int level = 0; level < kIptablesLevels; ++level) {
      const std::string number = absl::StrCat(level);
      absl::StrAppend(&heads, ":OUT", number, " - [0:0]\n");
      rules += Chain(place, "OUT" + number, false, level + 1);
      if (!has_input) continue;
      absl::StrAppend(&heads, ":IN", number, " - [0:0]\n");
      rules += Chain(place, "IN" + number, true, level + 1);
    }
    return absl::StrCat(heads, rules, "COMMIT\n");
  }

  Dice& dice_;
  Spice spice_;
  const bool v6_;
};

}  // namespace

std::string RandomIptables(Dice& dice, Spice spice, bool v6) {
  return Iptables(dice, spice, v6).Write();
}

}  // namespace npg::rules::random_rules
