// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_INSPECT_FACTS_H_
#define NODEPORT_GUARD_TESTS_UNIT_INSPECT_FACTS_H_

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/time/time.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/guard_facts.h"

// Facts of a node without a kernel, for tests of reports about them.
namespace npg::inspect {

inline constexpr int64_t kNow = 1'793'620'800;           // 2026-11-02T12:00:00Z
inline constexpr uint64_t kNowBoot = 1'000'000'000'000;  // up for 1000 s

// "127.0.0.1" is stored v4-mapped, "::1" as it is.
inline std::array<uint8_t, 16> Address(const std::string& text) {
  std::array<uint8_t, 16> address{};
  const std::string v6 = text.find(':') == std::string::npos ? "::ffff:" + text : text;
  inet_pton(AF_INET6, v6.c_str(), address.data());
  return address;
}

inline core::Listener MakeListener(const std::string& address, uint16_t port,
                                   const std::string& comm, pid_t pid,
                                   core::Protocol protocol = core::Protocol::kTcp) {
  core::Listener listener;
  listener.key = {port, protocol};
  listener.address = Address(address);
  listener.inode = 4242;
  listener.owner.pid = pid;
  listener.owner.comm = comm;
  listener.owner.executable = "/usr/bin/" + comm;
  listener.owner.cgroup = "/system.slice/" + comm + ".service";
  listener.owner.workload.unit = comm + ".service";
  listener.owner.holders = {pid};
  listener.binder = core::Binder{pid, comm, /*uid=*/0, /*cgroup_id=*/0, port};
  listener.noted = true;
  return listener;
}

inline std::pair<std::string, abi::OwnerVerdict> MakePolicy(const std::string& comm,
                                                            abi::OwnerVerdict verdict) {
  return {comm, verdict};
}

inline void AddNodePort(GuardFacts& facts, uint16_t port, const std::string& service,
                        abi::SourceBits sources = abi::Bit(abi::Source::kNetfilter),
                        core::Protocol protocol = core::Protocol::kTcp) {
  const auto at = std::lower_bound(
      facts.nodeports.begin(), facts.nodeports.end(), core::PortKey{port, protocol},
      [](const auto& entry, const core::PortKey& key) { return entry.first < key; });
  facts.nodeports.emplace(
      at, core::PortKey{port, protocol},
      abi::NodePort{sources, absl::FromUnixSeconds(kNow - int64_t{3} * 86400), service});
}

// Makes another process the one that bound the listener.
inline void BoundBy(core::Listener& listener, const std::string& comm, pid_t pid,
                    uint32_t uid = 0) {
  listener.binder = core::Binder{pid, comm, uid, /*cgroup_id=*/0, listener.key.port};
}

// A connected source: 3 ports of 2 Services, for an hour.
inline abi::SourceState& AddSource(GuardFacts& facts, abi::Source source,
                                   const std::string& detail = "") {
  abi::SourceState state;
  state.connected = true;
  state.services = 2;
  state.ports = 3;
  state.since = absl::FromUnixSeconds(kNow - 3600);
  state.last_event = state.last_reading = absl::FromUnixSeconds(kNow - 2);
  state.detail = detail;
  facts.sources.emplace_back(source, state);
  return facts.sources.back().second;
}

// A guard that works: containerd[812] on 127.0.0.1:33589/tcp, which is the
// NodePort of default/web.
inline GuardFacts MakeFacts() {
  GuardFacts facts;
  facts.bpffs = "/sys/fs/bpf";
  facts.config.abi_version = abi::kVersion;
  facts.config.mode = abi::Mode::kEnforce;
  facts.config.mark = 0x1000;
  facts.config.mark_mask = 0x1000;
  facts.config.netns_cookie = 1;
  facts.config.started = absl::FromUnixSeconds(kNow - 3600);
  facts.config.version = "0.1.0";
  facts.policy = {MakePolicy("kube-proxy", abi::OwnerVerdict::kHolder),
                  MakePolicy("ovnkube", abi::OwnerVerdict::kHolder)};
  facts.guard_uids = {0};
  facts.controller = 4711;
  facts.same_netns = true;
  AddNodePort(facts, 33589, "default/web");
  abi::PortStats stats;
  stats.exempted = 42;
  stats.observed = 7;
  stats.last_boot_ns = kNowBoot - 120'000'000'000;
  facts.stats.emplace_back(core::PortKey{33589, core::Protocol::kTcp}, stats);
  facts.counters[abi::Counter::kExempted] = 42;
  for (const char* name : dataplane::kLinkNames) {
    facts.links.push_back({{name, 1, 2, 1}, "/sys/fs/cgroup"});
  }
  facts.nft = dataplane::NftTableState{true, 4711, 168, 4, 2};
  facts.listeners.push_back(MakeListener("127.0.0.1", 33589, "containerd", 812));
  facts.now = absl::FromUnixSeconds(kNow);
  facts.now_boot_ns = kNowBoot;
  return facts;
}

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_TESTS_UNIT_INSPECT_FACTS_H_
