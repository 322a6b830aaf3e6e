// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_flows.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {
namespace {

// A transaction blocks those of other processes. This many entries take milliseconds.
constexpr size_t kMaxChanges = 8192;

using Address = std::array<uint8_t, 16>;

void AppendEndpoint(std::string& key, IpFamily family, const Address& address, uint16_t port) {
  constexpr size_t kMappedOffset = 12;
  const auto* begin = reinterpret_cast<const char*>(address.data());
  key.append(begin + (family == IpFamily::kIpv4 ? kMappedOffset : 0), begin + address.size());
  // In network order, and padded to the 32 bits of a register.
  key.push_back(static_cast<char>(port >> 8));
  key.push_back(static_cast<char>(port & 0xff));
  key.append(2, '\0');
}

// Whether an unused entry may be removed: not too young, and not about to expire.
bool IsStale(const NftElement& element, const NftSetSpec& set) {
  if (element.timeout_ms == 0) return true;  // our rules always set a timeout
  const absl::Duration expires = absl::Milliseconds(element.expires_ms);
  // Every rule that adds or refreshes an entry gives it the set's full time; the
  // element's own timeout attribute keeps its first value.
  return expires > kClosedTimeout && set.timeout() - expires >= kYoung;
}

NftElement NewElement(const std::string& key, const NftSetSpec& set) {
  const auto timeout_ms = static_cast<uint64_t>(absl::ToInt64Milliseconds(set.timeout()));
  return {key, timeout_ms, timeout_ms};
}

// The key of a port (host order) in a set of ports.
std::string PortKey(uint16_t port) {
  const in_port_t key = htons(port);
  return {reinterpret_cast<const char*>(&key), sizeof(key)};
}

// The tuple that the rules add for a flow: that of the replies.
std::string EnteredKey(const core::Flow& flow) { return std::move(FlowKeys(flow)[1]); }

// At most kMaxChanges of them, from `at` on.
template <typename T>
std::vector<T> Slice(const std::vector<T>& all, size_t at) {
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(at);
  const size_t size = std::min(kMaxChanges, all.size() - at);
  return {begin, begin + static_cast<std::ptrdiff_t>(size)};
}

}  // namespace

IpFamily FlowFamily(const core::Flow& flow) {
  return core::IsV4Mapped(flow.client_address) && core::IsV4Mapped(flow.server_address)
             ? IpFamily::kIpv4
             : IpFamily::kIpv6;
}

std::array<std::string, 2> FlowKeys(const core::Flow& flow) {
  const IpFamily family = FlowFamily(flow);
  std::array<std::string, 2> keys;
  AppendEndpoint(keys[0], family, flow.client_address, flow.client_port);
  AppendEndpoint(keys[0], family, flow.server_address, flow.server_port);
  AppendEndpoint(keys[1], family, flow.server_address, flow.server_port);
  AppendEndpoint(keys[1], family, flow.client_address, flow.client_port);
  return keys;
}

NftSetChange CompareFlows(const NftSetSpec& set, uint32_t size,
                          const std::vector<NftElement>& elements,
                          const std::vector<core::Flow>& live,
                          const std::vector<core::Flow>& connected) {
  const auto belongs = [&set](const core::Flow& flow) {
    return flow.protocol == set.protocol && FlowFamily(flow) == set.family;
  };
  // Of both directions: a half-closed set has either, and a flow set may have both of a connection
  // from before the upgrade of an earlier build.
  absl::flat_hash_set<std::string> alive;
  for (const std::vector<core::Flow>* flows : {&live, &connected}) {
    for (const core::Flow& flow : *flows) {
      if (!belongs(flow)) continue;
      for (std::string& key : FlowKeys(flow)) alive.insert(std::move(key));
    }
  }
  NftSetChange change;
  absl::flat_hash_set<absl::string_view> present;
  present.reserve(elements.size());
  for (const NftElement& element : elements) {
    // The kernel may list an entry twice while the set changes.
    if (!present.insert(element.key).second) continue;
    if (!alive.contains(element.key) && IsStale(element, set)) change.remove.push_back(element.key);
  }
  if (set.use == NftSetUse::kHalfClosed) return change;

  size_t room = size - std::min<size_t>(size, elements.size() - change.remove.size());
  for (const core::Flow& flow : live) {
    if (!belongs(flow)) continue;
    const std::string key = EnteredKey(flow);
    if (present.contains(key)) continue;
    if (room == 0) {
      ++change.no_room;
      continue;
    }
    --room;
    change.add.push_back(NewElement(key, set));
  }
  return change;
}

uint16_t PortOf(absl::string_view key) {
  in_port_t port = 0;
  std::memcpy(&port, key.data(), std::min(sizeof(port), key.size()));
  return ntohs(port);
}

std::array<uint16_t, 2> TuplePorts(IpFamily family, absl::string_view tuple) {
  const size_t address = family == IpFamily::kIpv4 ? sizeof(in_addr) : sizeof(in6_addr);
  return {PortOf(tuple.substr(address)), PortOf(tuple.substr(tuple.size() / 2 + address))};
}

NftSetChange CompareTargets(const NftSetSpec& set, const std::vector<NftElement>& elements,
                            const core::DatagramTargets& targets) {
  absl::flat_hash_set<std::string> missing;
  if (set.use != NftSetUse::kTargets) {
    for (const uint16_t port : targets.loopback4) missing.insert(PortKey(port));
  }
  for (const auto& [address, port] : targets.addresses) {
    if (set.use == NftSetUse::kTargetPorts) missing.insert(PortKey(port));
    if (set.use != NftSetUse::kTargets ||
        core::IsV4Mapped(address) != (set.family == IpFamily::kIpv4)) {
      continue;
    }
    std::string key;
    AppendEndpoint(key, set.family, address, port);
    missing.insert(std::move(key));
  }
  NftSetChange change;
  absl::flat_hash_set<absl::string_view> present;
  for (const NftElement& element : elements) {
    if (!present.insert(element.key).second) continue;
    if (missing.erase(element.key) == 0) change.remove.push_back(element.key);
  }
  for (const std::string& key : missing) change.add.push_back({key, 0, 0});
  return change;
}

void AddTargets(const NftSetSpec& set, const std::vector<NftElement>& elements,
                core::DatagramTargets& targets) {
  const bool pairs = set.use == NftSetUse::kTargets;
  if (!pairs && set.use != NftSetUse::kLoopbackTargets) return;
  size_t size = 0;  // of the address, which comes first
  if (pairs) size = set.family == IpFamily::kIpv4 ? sizeof(in_addr) : sizeof(in6_addr);
  for (const NftElement& element : elements) {
    if (element.key.size() < size + sizeof(in_port_t)) continue;
    in_port_t port = 0;
    std::memcpy(&port, element.key.data() + size, sizeof(port));
    if (!pairs) {
      targets.loopback4.insert(ntohs(port));
      continue;
    }
    Address address{};
    if (set.family == IpFamily::kIpv4) address[10] = address[11] = 0xff;
    std::memcpy(address.data() + (address.size() - size), element.key.data(), size);
    targets.addresses.emplace(address, ntohs(port));
  }
}

absl::Status ApplyChange(base::NetlinkSocket& socket, const NftSetSpec& set,
                         const NftSetChange& change) {
  // Remove first, to make room.
  for (size_t at = 0; at < change.remove.size(); at += kMaxChanges) {
    NftBatch batch(socket);
    DeleteElements(batch, set.name, Slice(change.remove, at));
    const absl::StatusOr<NftCommit> commit = batch.Commit();
    if (!commit.ok()) return commit.status();
    NPG_RETURN_IF_ERROR(commit->ToStatus());
  }
  for (size_t at = 0; at < change.add.size(); at += kMaxChanges) {
    NftBatch batch(socket);
    AddElements(batch, set.name, Slice(change.add, at));
    const absl::StatusOr<NftCommit> commit = batch.Commit();
    if (!commit.ok()) return commit.status();
    NPG_RETURN_IF_ERROR(commit->ToStatus());
  }
  return absl::OkStatus();
}

}  // namespace npg::dataplane
