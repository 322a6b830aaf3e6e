// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_RULE_H_
#define NODEPORT_GUARD_RULES_RULE_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"

// Rules of a firewall in one form, for all of their sources: expressions of nf_tables, extensions
// of iptables in nf_tables, and the text of iptables-legacy-save.

namespace npg::rules {

// What a rule can ask about the first packet of a connect.
enum class Field : uint8_t {
  kFamily,           // 1 byte: NFPROTO_IPV4, NFPROTO_IPV6
  kProtocol,         // 1 byte: IPPROTO_...
  kSource,           // 4 or 16 bytes, by the family of the operand's size
  kDestination,      // the same
  kSourcePort,       // 2 bytes
  kDestinationPort,  // 2 bytes
  kInName,           // 16 bytes, padded with NUL: the first byte is the most significant
  kOutName,          // the same
  kInIndex,          // 4 bytes
  kOutIndex,         // 4 bytes
  kMark,             // 4 bytes: of the packet
  kConnectionMark,   // 4 bytes
  kState,            // 4 bytes: NF_CT_STATE_BIT(...), as `ct state` of nf_tables
  kSourceType,       // 4 bytes: RTN_LOCAL and the like (linux/rtnetlink.h)
  kDestinationType,  // the same
  kTcpFlags,         // 1 byte: of a connect, SYN
  // Not the same for each of many like connects: random numbers, counters, limits, the time,
  // sets that packets change.
  kChance,
  // Cannot be evaluated: see Operand::unknown.
  kUnknown,
};

// A field's value, as a number: the bytes on the wire are big-endian; the kernel's own values
// (marks, indexes, states) are what they are.
using Value = absl::uint128;
inline constexpr Value kAllBits = ~Value(0);

// A field, and what a rule does to it before it compares: (field & mask) ^ flip.
struct Operand {
  Field field = Field::kUnknown;
  uint8_t size = 0;  // in bytes, as compared
  // Where it is in the key of a set; a multiple of 4. 0 outside of concatenations.
  uint8_t offset = 0;
  // In a set's key, the value is in the host's byte order. (Marks, indexes and states, unless the
  // rule has converted them. Not names.)
  bool host_order = false;
  Value mask = kAllBits;
  Value flip = 0;
  std::string unknown;  // kUnknown: what it is, for people: "meta cgroup", "match u32"

  bool operator==(const Operand&) const = default;
};

// Both inclusive.
struct Interval {
  Value first = 0;
  Value last = 0;
  bool operator==(const Interval&) const = default;
};

// A set of nf_tables, in the table of the rule that names it, or an ipset, which is in no table.
struct SetName {
  std::string name;
  bool ip_set = false;
  auto operator<=>(const SetName&) const = default;
};

// A condition. It holds if the operands are in `intervals`, or in a set.
struct Test {
  // One; several if a set's key is a concatenation, or for several dimensions of an ipset.
  std::vector<Operand> operands;
  bool negated = false;
  // Alternatives, where there is one operand and no set. None: never (always, if negated), but for
  // kChance and kUnknown, whose answer is open in any case.
  std::vector<Interval> intervals;
  std::optional<SetName> set;
  // It holds also if the source port, which the kernel picks for a connect, is in `intervals`
  // (multiport --ports).
  bool or_source_port = false;

  bool operator==(const Test&) const = default;
};

enum class VerdictKind : uint8_t {
  kAccept,  // ends the base chain
  kDrop,
  kReject,
  kReturn,
  kJump,
  kGoto,
  kContinue,  // only as an element of a map: the rule goes on with its next step
  kDivert,    // queue, TPROXY and the like: what happens then cannot be known; `unknown` names it
  kBreak,     // only as an element of a map: the rule ends
};

struct Verdict {
  VerdictKind kind = VerdictKind::kContinue;
  std::string chain;    // kJump, kGoto
  std::string unknown;  // kDivert: "target TPROXY"
  bool operator==(const Verdict&) const = default;
};

// Looks the operands up in a map of verdicts, and obeys. No element: the rule does not match.
struct VerdictMap {
  std::vector<Operand> operands;
  SetName map;
  bool operator==(const VerdictMap&) const = default;
};

// Looks the operands up in a map of data, which a Nat of the same rule may use. No element: the
// rule does not match.
struct DataMap {
  std::vector<Operand> operands;
  SetName map;
  bool operator==(const DataMap&) const = default;
};

// Changes the destination (DNAT, REDIRECT), which ends the hook "nat".
struct Nat {
  bool redirect = false;            // to this node
  std::optional<Interval> address;  // nullopt: unchanged, or from the map
  std::optional<Interval> port;     // nullopt: unchanged, or from the map
  // Where the values are in the data of the DataMap that precedes; -1: not there. The address is
  // of the size of the packet's family.
  int8_t address_offset = -1;
  int8_t port_offset = -1;
  bool operator==(const Nat&) const = default;
};

// mark = (mark & keep) ^ flip, of the packet.
struct MarkChange {
  bool known = true;  // false: to a value that is not known
  uint32_t keep = 0;
  uint32_t flip = 0;
  // Bits of the connection's mark go in, too: exact as long as that is 0, which it is until a
  // ConnectionMarkChange; then the whole mark is not known. No effect without a connection.
  bool from_connection = false;
  bool operator==(const MarkChange&) const = default;
};

// From here on, the connection's mark is not known.
struct ConnectionMarkChange {
  bool operator==(const ConnectionMarkChange&) const = default;
};

// NOTRACK: the packet meets no nat.
struct Untrack {
  bool operator==(const Untrack&) const = default;
};

using Step = std::variant<Test, Verdict, VerdictMap, DataMap, Nat, MarkChange, ConnectionMarkChange,
                          Untrack>;

// Steps in the order in which the kernel takes them; a Test that does not hold ends the rule.
// What has no effect on the way of a packet (counters, logs) is left out.
struct Rule {
  uint64_t handle = 0;  // of nf_tables; for legacy tables, its number in the chain, from 1
  std::string comment;
  std::vector<Step> steps;
};

enum class Engine : uint8_t {
  kNfTables,
  kLegacy,  // ip_tables, ip6_tables
};

struct TableId {
  Engine engine = Engine::kNfTables;
  uint8_t family = 0;  // NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_INET
  std::string name;
  auto operator<=>(const TableId&) const = default;
};

// "nft table ip nat", "iptables-legacy table nat", "ip6tables-legacy table nat".
std::string ToString(const TableId& table);

struct ChainName {
  TableId table;
  std::string name;
  auto operator<=>(const ChainName&) const = default;
};

// "nft table ip nat, chain KUBE-NODEPORTS".
std::string ToString(const ChainName& chain);

// A chain with a hook.
struct BaseChain {
  ChainName chain;
  uint32_t hook = 0;  // NF_INET_LOCAL_OUT, ...
  int32_t priority = 0;
  bool nat = false;    // its type is nat
  bool drops = false;  // its policy
  bool operator==(const BaseChain&) const = default;
};

// An element of a set, as the kernel has it.
struct Element {
  // Bytes of the key, each part of a concatenation padded to a multiple of 4; for a range, its
  // ends (each part of a concatenation has a range of its own).
  std::string first;
  std::string last;  // the same as `first` for a single value
  Verdict verdict;   // of a map of verdicts
  std::string data;  // of a map of data
  std::string comment;
  // Matches what no other element of the set matches (`*`): all keys are in its range, and it is
  // the last of the set.
  bool catchall = false;
};

// One dimension of an ipset. The rule that uses the set has an operand kSource or kDestination, for
// the end of the connection.
enum class IpSetPart : uint8_t {
  kAddress,          // 4 or 16 bytes
  kProtocolAndPort,  // protocol (1 byte, padded to 4), port (2 bytes, padded to 4)
  kPort,             // 2 bytes, padded to 4: of either protocol
};

struct Set {
  std::vector<Element> elements;
  std::vector<IpSetPart> parts;  // of an ipset: what the keys of its elements consist of
  // Not empty: why lookups in it cannot be evaluated, for people ("ipset of the type hash:mac").
  std::string unknown;
  bool chance = false;  // packets change it, or its elements expire
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_RULE_H_
