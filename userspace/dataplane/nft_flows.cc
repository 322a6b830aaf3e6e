// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft_flows.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "dataplane/nft_batch.h"
#include "dataplane/nft_install.h"
#include "dataplane/nft_rules.h"
#include "dataplane/nft_snapshot.h"
#include "dataplane/nft_table.h"

namespace npg::dataplane {
namespace {

// While a transaction runs, nobody else's can. This many entries take milliseconds.
constexpr size_t kMaxChanges = 8192;

using Address = std::array<uint8_t, 16>;

bool IsMapped(const Address& address) {
  constexpr std::array<uint8_t, 12> kPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(kPrefix.begin(), kPrefix.end(), address.begin());
}

void AppendEndpoint(std::string& key, IpFamily family, const Address& address, uint16_t port) {
  constexpr size_t kMappedOffset = 12;
  const auto* begin = reinterpret_cast<const char*>(address.data());
  key.append(begin + (family == IpFamily::kIpv4 ? kMappedOffset : 0), begin + address.size());
  // In network order, and padded to the 32 bits of a register.
  key.push_back(static_cast<char>(port >> 8));
  key.push_back(static_cast<char>(port & 0xff));
  key.append(2, '\0');
}

// Removable: nobody's, not too young to judge, and not on its way out anyway.
bool IsStale(const NftElement& element, const NftSetSpec& set) {
  if (element.timeout_ms == 0) return true;  // not from our rules
  const absl::Duration expires = absl::Milliseconds(element.expires_ms);
  // Every rule that enters or refreshes an entry gives it the set's full time;
  // the element's own timeout attribute stays what it was at first.
  return expires > kClosedTimeout && set.timeout() - expires >= kYoung;
}

}  // namespace

IpFamily FlowFamily(const Flow& flow) {
  return IsMapped(flow.client_address) && IsMapped(flow.server_address) ? IpFamily::kIpv4
                                                                        : IpFamily::kIpv6;
}

std::array<std::string, 2> FlowKeys(const Flow& flow) {
  const IpFamily family = FlowFamily(flow);
  std::array<std::string, 2> keys;
  AppendEndpoint(keys[0], family, flow.client_address, flow.client_port);
  AppendEndpoint(keys[0], family, flow.server_address, flow.server_port);
  AppendEndpoint(keys[1], family, flow.server_address, flow.server_port);
  AppendEndpoint(keys[1], family, flow.client_address, flow.client_port);
  return keys;
}

NftSetChange CompareFlows(const NftSetSpec& set, uint32_t size,
                          const std::vector<NftElement>& elements, const std::vector<Flow>& live,
                          const std::vector<Flow>& connected) {
  const auto belongs = [&set](const Flow& flow) {
    return flow.protocol == set.protocol && FlowFamily(flow) == set.family;
  };
  absl::flat_hash_set<std::string> alive;
  for (const std::vector<Flow>* flows : {&live, &connected}) {
    for (const Flow& flow : *flows) {
      if (!belongs(flow)) continue;
      for (std::string& key : FlowKeys(flow)) alive.insert(std::move(key));
    }
  }
  NftSetChange change;
  absl::flat_hash_set<absl::string_view> present;
  for (const NftElement& element : elements) {
    present.insert(element.key);
    if (!alive.contains(element.key) && IsStale(element, set)) change.remove.push_back(element.key);
  }
  if (set.half_closed) return change;

  size_t room = size - std::min<size_t>(size, elements.size() - change.remove.size());
  const auto timeout_ms = static_cast<uint64_t>(absl::ToInt64Milliseconds(set.timeout()));
  for (const Flow& flow : live) {
    if (!belongs(flow)) continue;
    for (const std::string& key : FlowKeys(flow)) {
      if (present.contains(key)) continue;
      if (room == 0) {
        ++change.no_room;
        continue;
      }
      --room;
      change.add.push_back({key, timeout_ms, timeout_ms});
    }
  }
  return change;
}

absl::Status ApplyChange(base::NetlinkSocket& socket, const NftSetSpec& set,
                         const NftSetChange& change) {
  const std::string name(set.name);
  // What goes makes room for what comes.
  for (size_t at = 0; at < change.remove.size(); at += kMaxChanges) {
    const size_t end = std::min(change.remove.size(), at + kMaxChanges);
    NftBatch batch(socket);
    DeleteElements(batch, name, {&change.remove[at], &change.remove[0] + end});
    const absl::StatusOr<NftCommit> commit = batch.Commit();
    if (!commit.ok()) return commit.status();
    NPG_RETURN_IF_ERROR(commit->ToStatus());
  }
  for (size_t at = 0; at < change.add.size(); at += kMaxChanges) {
    const size_t end = std::min(change.add.size(), at + kMaxChanges);
    NftBatch batch(socket);
    AddElements(batch, name, {&change.add[at], &change.add[0] + end});
    const absl::StatusOr<NftCommit> commit = batch.Commit();
    if (!commit.ok()) return commit.status();
    NPG_RETURN_IF_ERROR(commit->ToStatus());
  }
  return absl::OkStatus();
}

}  // namespace npg::dataplane
