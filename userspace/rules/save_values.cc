// SPDX-License-Identifier: Apache-2.0
#include "rules/save_values.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

// After netinet/in.h.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/decimal.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

constexpr size_t kSavedNameBytes = 16;

struct SavedBit {
  absl::string_view name;
  uint8_t bits;
};

constexpr std::array<SavedBit, 14> kSavedProtocols = {{
    {"tcp", IPPROTO_TCP},
    {"udp", IPPROTO_UDP},
    {"icmp", IPPROTO_ICMP},
    {"ipv6-icmp", IPPROTO_ICMPV6},
    {"icmpv6", IPPROTO_ICMPV6},
    {"sctp", IPPROTO_SCTP},
    {"dccp", IPPROTO_DCCP},
    {"udplite", IPPROTO_UDPLITE},
    {"esp", IPPROTO_ESP},
    {"ah", IPPROTO_AH},
    {"gre", IPPROTO_GRE},
    {"igmp", IPPROTO_IGMP},
    {"ipencap", IPPROTO_IPIP},
    {"ipv6", IPPROTO_IPV6},
}};

constexpr std::array<SavedBit, 8> kSavedTcpFlagBits = {{
    {"FIN", TH_FIN},
    {"SYN", TH_SYN},
    {"RST", TH_RST},
    {"PSH", TH_PUSH},
    {"ACK", TH_ACK},
    {"URG", TH_URG},
    {"ALL", TH_FIN | TH_SYN | TH_RST | TH_PUSH | TH_ACK | TH_URG},
    {"NONE", 0},
}};

constexpr std::array<SavedBit, 7> kSavedStateBits = {{
    {"INVALID", NF_CT_STATE_INVALID_BIT},
    {"NEW", NF_CT_STATE_BIT(IP_CT_NEW)},
    {"ESTABLISHED", NF_CT_STATE_BIT(IP_CT_ESTABLISHED)},
    {"RELATED", NF_CT_STATE_BIT(IP_CT_RELATED)},
    {"UNTRACKED", NF_CT_STATE_UNTRACKED_BIT},
    {"DNAT", 0},
    {"SNAT", 0},
}};

std::optional<uint8_t> FindSavedBits(absl::Span<const SavedBit> table, absl::string_view name) {
  const auto* const found = std::find_if(table.begin(), table.end(),
                                         [name](const SavedBit& bit) { return bit.name == name; });
  if (found == table.end()) return std::nullopt;
  return found->bits;
}

std::optional<uint8_t> SavedBitList(absl::Span<const SavedBit> table, absl::string_view text) {
  unsigned bits = 0;
  for (const absl::string_view name : absl::StrSplit(text, ',')) {
    const std::optional<uint8_t> more = FindSavedBits(table, name);
    if (!more) return std::nullopt;
    bits |= *more;
  }
  return static_cast<uint8_t>(bits);
}

// All bits of an address.
Value SavedAddressBits(uint8_t family) {
  return kAllBits >> (128 - 8 * int{SavedAddressSize(family)});
}

std::optional<Value> SavedMask(uint8_t family, absl::string_view text) {
  const std::optional<unsigned> prefix = base::ParseDecimal<unsigned>(text);
  if (!prefix) return SavedAddress(family, text);
  const unsigned bits = 8U * SavedAddressSize(family);
  if (*prefix > bits) return std::nullopt;
  const Value all = SavedAddressBits(family);
  // A shift by all 128 bits is undefined.
  return *prefix == 0 ? Value(0) : (all << static_cast<int>(bits - *prefix)) & all;
}

std::optional<uint16_t> SavedPortNumber(absl::string_view text) {
  const std::optional<uint32_t> port = base::ParseDecimal<uint32_t>(text);
  if (!port || *port > std::numeric_limits<uint16_t>::max()) return std::nullopt;
  return static_cast<uint16_t>(*port);
}

}  // namespace

uint8_t SavedAddressSize(uint8_t family) {
  return family == NFPROTO_IPV6 ? sizeof(in6_addr) : sizeof(in_addr);
}

std::optional<Value> SavedAddress(uint8_t family, absl::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.size() >= terminated.size()) return std::nullopt;
  std::copy(text.begin(), text.end(), terminated.begin());
  std::array<uint8_t, sizeof(in6_addr)> bytes{};
  const int kernel_family = family == NFPROTO_IPV6 ? AF_INET6 : AF_INET;
  if (inet_pton(kernel_family, terminated.data(), bytes.data()) != 1) return std::nullopt;
  Value value = 0;
  for (const uint8_t byte : absl::MakeConstSpan(bytes).first(SavedAddressSize(family))) {
    value = (value << 8) | byte;
  }
  return value;
}

std::optional<SavedNetwork> ParseSavedNetwork(uint8_t family, absl::string_view text) {
  const size_t slash = text.find('/');
  const std::optional<Value> address = SavedAddress(family, text.substr(0, slash));
  if (!address) return std::nullopt;
  const Value all = SavedAddressBits(family);
  SavedNetwork network{.address = *address, .mask = all, .interval = std::nullopt};
  if (slash != absl::string_view::npos) {
    const std::optional<Value> mask = SavedMask(family, text.substr(slash + 1));
    if (!mask) return std::nullopt;
    network.mask = *mask;
  }
  network.address &= network.mask;
  const Value host = all & ~network.mask;
  if ((host & (host + 1)) == 0) network.interval = {network.address, network.address | host};
  return network;
}

std::optional<Interval> SavedAddressRange(uint8_t family, absl::string_view text) {
  const size_t dash = text.find('-');
  const std::optional<Value> first = SavedAddress(family, text.substr(0, dash));
  if (!first || dash == absl::string_view::npos) {
    return first ? std::optional(Interval{*first, *first}) : std::nullopt;
  }
  const std::optional<Value> last = SavedAddress(family, text.substr(dash + 1));
  if (!last) return std::nullopt;
  return Interval{*first, *last};
}

std::optional<Interval> SavedPortRange(absl::string_view text, char separator) {
  const size_t middle = text.find(separator);
  const std::optional<uint16_t> first = SavedPortNumber(text.substr(0, middle));
  if (!first) return std::nullopt;
  if (middle == absl::string_view::npos) return Interval{*first, *first};
  const std::optional<uint16_t> last = SavedPortNumber(text.substr(middle + 1));
  if (!last) return std::nullopt;
  return Interval{*first, *last};
}

std::optional<std::vector<Interval>> SavedPortList(absl::string_view text) {
  std::vector<Interval> intervals;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::optional<Interval> range = SavedPortRange(part, ':');
    if (!range) return std::nullopt;
    intervals.push_back(*range);
  }
  return intervals;
}

std::optional<Interval> SavedInterface(absl::string_view text) {
  const bool prefix = absl::EndsWith(text, "+");
  if (prefix) text.remove_suffix(1);
  if (text.size() >= kSavedNameBytes) return std::nullopt;
  Interval names;
  for (size_t i = 0; i < kSavedNameBytes; ++i) {
    const bool inside = i < text.size();
    const uint8_t byte = inside ? static_cast<uint8_t>(text[i]) : uint8_t{0};
    names.first = (names.first << 8) | byte;
    names.last = (names.last << 8) | (prefix && !inside ? uint8_t{0xff} : byte);
  }
  return names;
}

std::optional<uint8_t> SavedProtocol(absl::string_view text) {
  if (text.empty()) return std::nullopt;
  const std::optional<unsigned> number = base::ParseDecimal<unsigned>(text);
  if (number && *number > std::numeric_limits<uint8_t>::max()) return std::nullopt;
  if (number) return static_cast<uint8_t>(*number);
  return FindSavedBits(kSavedProtocols, text).value_or(IPPROTO_RAW);
}

std::optional<uint32_t> SavedNumber(absl::string_view text) {
  if (!absl::StartsWith(text, "0x")) return base::ParseDecimal<uint32_t>(text);
  uint32_t number = 0;
  if (!absl::SimpleHexAtoi(text, &number)) return std::nullopt;
  return number;
}

std::optional<std::pair<uint32_t, uint32_t>> SavedMasked(absl::string_view text) {
  const size_t slash = text.find('/');
  const std::optional<uint32_t> value = SavedNumber(text.substr(0, slash));
  const std::optional<uint32_t> mask = slash == absl::string_view::npos
                                           ? std::numeric_limits<uint32_t>::max()
                                           : SavedNumber(text.substr(slash + 1));
  if (!value || !mask) return std::nullopt;
  return std::pair(*value, *mask);
}

std::optional<uint8_t> SavedTcpFlags(absl::string_view text) {
  return SavedBitList(kSavedTcpFlagBits, text);
}

std::optional<uint32_t> SavedStates(absl::string_view text) {
  const std::optional<uint8_t> bits = SavedBitList(kSavedStateBits, text);
  if (!bits) return std::nullopt;
  return *bits;
}

}  // namespace npg::rules
