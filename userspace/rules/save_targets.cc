// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "rules/save_options.h"
#include "rules/save_values.h"
#include "rules/save_words.h"

namespace npg::rules {
namespace {

// Targets that change neither the way of a packet nor its mark. SNAT and MASQUERADE are called
// behind the hooks of local output and input.
constexpr std::array<absl::string_view, 23> kSavedIdleTargets = {
    "AUDIT",  "CHECKSUM",    "CLASSIFY",   "CONNSECMARK", "DSCP",    "ECN",     "HL",  "IDLETIMER",
    "LED",    "LOG",         "MASQUERADE", "NFLOG",       "RATEEST", "SECMARK", "SET", "SNAT",
    "TCPMSS", "TCPOPTSTRIP", "TEE",        "TOS",         "TRACE",   "TTL",     "ULOG"};

struct SavedVerdict {
  absl::string_view name;
  VerdictKind kind;
};

constexpr std::array<SavedVerdict, 4> kSavedVerdicts = {{
    {"ACCEPT", VerdictKind::kAccept},
    {"DROP", VerdictKind::kDrop},
    {"RETURN", VerdictKind::kReturn},
    {"REJECT", VerdictKind::kReject},
}};

// The value of an option of a target; nullopt if it is not there.
std::optional<absl::string_view> SavedValueOf(const SaveCursor& words, absl::string_view option) {
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words.Peek(i) == option) return words.Peek(i + 1);
  }
  return std::nullopt;
}

bool HasSavedOption(const SaveCursor& words, absl::string_view option) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words.Peek(i) == option) return true;
  }
  return false;
}

void AddSavedDivert(absl::string_view target, Rule& rule) {
  rule.steps.emplace_back(Verdict{
      .kind = VerdictKind::kDivert, .chain = {}, .unknown = absl::StrCat("target ", target)});
}

// "80", "80-90", "80-90/1080": the part behind "/" is where the counting starts.
std::optional<Interval> SavedNatPorts(absl::string_view text) {
  return SavedPortRange(text.substr(0, text.find('/')), '-');
}

// An address or a range of them, a port or a range of them, or both: "10.0.0.1:80", "[fd00::1]:80".
struct SavedDestination {
  std::string address;
  absl::string_view ports;
};

SavedDestination SplitSavedDestination(absl::string_view text) {
  const size_t bracket = text.rfind(']');
  const bool brackets = bracket != absl::string_view::npos;
  // An IPv6 address without brackets has no port behind it.
  const bool plain_v6 = !brackets && std::count(text.begin(), text.end(), ':') > 1;
  const size_t colon = plain_v6 ? absl::string_view::npos : text.find(':', brackets ? bracket : 0);
  SavedDestination destination;
  destination.address = absl::StrReplaceAll(text.substr(0, colon), {{"[", ""}, {"]", ""}});
  if (colon != absl::string_view::npos) destination.ports = text.substr(colon + 1);
  return destination;
}

std::optional<Nat> ParseSavedDestination(uint8_t family, absl::string_view text) {
  const SavedDestination destination = SplitSavedDestination(text);
  Nat nat;
  if (!destination.address.empty()) {
    nat.address = SavedAddressRange(family, destination.address);
    if (!nat.address) return std::nullopt;
  }
  if (!destination.ports.empty()) {
    nat.port = SavedNatPorts(destination.ports);
    if (!nat.port) return std::nullopt;
  }
  if (!nat.address && !nat.port) return std::nullopt;
  return nat;
}

// The kernel chooses among several destinations, as among the addresses of a range.
std::optional<Interval> SavedHull(const std::optional<Interval>& a,
                                  const std::optional<Interval>& b) {
  if (!a || !b) return std::nullopt;
  return Interval{std::min(a->first, b->first), std::max(a->last, b->last)};
}

bool ParseSavedDnat(uint8_t family, const SaveCursor& words, Rule& rule) {
  std::optional<Nat> all;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words.Peek(i) != "--to-destination") continue;
    if (i + 1 == words.size()) return false;
    std::optional<Nat> nat = ParseSavedDestination(family, words.Peek(i + 1));
    if (!nat) {
      AddSavedDivert("DNAT", rule);
      return true;
    }
    if (all) {
      nat->address = SavedHull(all->address, nat->address);
      nat->port = SavedHull(all->port, nat->port);
    }
    all = nat;
  }
  if (!all) return false;
  rule.steps.emplace_back(*all);
  return true;
}

bool ParseSavedRedirect(const SaveCursor& words, Rule& rule) {
  Nat nat{.redirect = true, .address = std::nullopt, .port = std::nullopt};
  if (HasSavedOption(words, "--to-ports")) {
    const std::optional<absl::string_view> ports = SavedValueOf(words, "--to-ports");
    if (!ports) return false;
    nat.port = SavedNatPorts(*ports);
    if (!nat.port) {
      AddSavedDivert("REDIRECT", rule);
      return true;
    }
  }
  rule.steps.emplace_back(nat);
  return true;
}

bool ParseSavedNetmap(uint8_t family, const SaveCursor& words, Rule& rule) {
  const std::optional<absl::string_view> value = SavedValueOf(words, "--to");
  if (!value) return false;
  const std::optional<SavedNetwork> network = ParseSavedNetwork(family, *value);
  if (!network || !network->interval) {
    AddSavedDivert("NETMAP", rule);
    return true;
  }
  Nat nat;
  nat.address = network->interval;
  rule.steps.emplace_back(nat);
  return true;
}

// The first option that is there says what the target does.
std::optional<MarkChange> SavedMarkChange(const SaveCursor& words) {
  if (const auto text = SavedValueOf(words, "--set-xmark")) {
    const auto mark = SavedMasked(*text);
    if (!mark) return std::nullopt;
    return MarkChange{.known = true, .keep = ~mark->second, .flip = mark->first};
  }
  if (const auto text = SavedValueOf(words, "--set-mark")) {
    const auto mark = SavedMasked(*text);
    if (!mark) return std::nullopt;
    return MarkChange{.known = true, .keep = ~(mark->first | mark->second), .flip = mark->first};
  }
  if (const auto text = SavedValueOf(words, "--and-mark")) {
    const auto bits = SavedNumber(*text);
    if (!bits) return std::nullopt;
    return MarkChange{.known = true, .keep = *bits, .flip = 0};
  }
  if (const auto text = SavedValueOf(words, "--or-mark")) {
    const auto bits = SavedNumber(*text);
    if (!bits) return std::nullopt;
    return MarkChange{.known = true, .keep = ~*bits, .flip = *bits};
  }
  const auto text = SavedValueOf(words, "--xor-mark");
  const auto bits = text ? SavedNumber(*text) : std::nullopt;
  if (!bits) return std::nullopt;
  return MarkChange{.known = true, .keep = ~uint32_t{0}, .flip = *bits};
}

bool ParseSavedMark(const SaveCursor& words, Rule& rule) {
  if (words.size() < 2) return false;
  rule.steps.emplace_back(SavedMarkChange(words).value_or(MarkChange{.known = false}));
  return true;
}

bool ParseSavedConnectionMark(const SaveCursor& words, Rule& rule) {
  if (words.empty()) return false;
  if (HasSavedOption(words, "--restore-mark")) {
    // Which bits of the packet's mark are replaced.
    const auto text = SavedValueOf(words, "--nfmask");
    const auto mask = text ? SavedNumber(*text) : std::optional<uint32_t>(UINT32_MAX);
    rule.steps.emplace_back(
        MarkChange{.known = mask.has_value(), .keep = ~mask.value_or(0), .from_connection = true});
  } else {
    rule.steps.emplace_back(ConnectionMarkChange{});
  }
  return true;
}

bool ParseSavedTproxy(const SaveCursor& words, Rule& rule) {
  if (const auto text = SavedValueOf(words, "--tproxy-mark")) {
    const auto mark = SavedMasked(*text);
    rule.steps.emplace_back(mark ? MarkChange{.keep = ~mark->second, .flip = mark->first}
                                 : MarkChange{.known = false});
  }
  AddSavedDivert("TPROXY", rule);
  return true;
}

// nullopt: not one of the targets that change a packet, or what conntrack does with it.
std::optional<bool> ParseSavedChange(uint8_t family, absl::string_view name,
                                     const SaveCursor& words, Rule& rule) {
  if (name == "DNAT") return ParseSavedDnat(family, words, rule);
  if (name == "MARK") return ParseSavedMark(words, rule);
  if (name == "REDIRECT") return ParseSavedRedirect(words, rule);
  if (name == "NETMAP") return ParseSavedNetmap(family, words, rule);
  if (name == "TPROXY") return ParseSavedTproxy(words, rule);
  if (name == "CONNMARK") return ParseSavedConnectionMark(words, rule);
  if (name == "HMARK") {
    rule.steps.emplace_back(MarkChange{.known = false});
    return true;
  }
  if (name == "NOTRACK" || (name == "CT" && HasSavedOption(words, "--notrack"))) {
    rule.steps.emplace_back(Untrack{});
    return true;
  }
  if (name == "CT") return true;
  return std::nullopt;
}

}  // namespace

bool ParseSavedTarget(uint8_t family, absl::string_view name, SaveCursor words,
                      SavedChains is_chain, Rule& rule) {
  if (!words.empty() && !absl::StartsWith(words.Peek(), "-")) return false;
  for (const SavedVerdict& verdict : kSavedVerdicts) {
    if (verdict.name != name) continue;
    rule.steps.emplace_back(Verdict{.kind = verdict.kind, .chain = {}, .unknown = {}});
    return true;
  }
  if (is_chain(name)) {
    rule.steps.emplace_back(
        Verdict{.kind = VerdictKind::kJump, .chain = std::string(name), .unknown = {}});
    return true;
  }
  const std::optional<bool> change = ParseSavedChange(family, name, words, rule);
  if (change) return *change;
  if (std::find(kSavedIdleTargets.begin(), kSavedIdleTargets.end(), name) ==
      kSavedIdleTargets.end()) {
    AddSavedDivert(name, rule);  // also "QUEUE"
  }
  return true;
}

}  // namespace npg::rules
