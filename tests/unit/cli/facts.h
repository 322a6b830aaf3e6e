// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_CLI_FACTS_H_
#define NODEPORT_GUARD_TESTS_UNIT_CLI_FACTS_H_

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "cli/guard_facts.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/nft/nft_table.h"
#include "guard_abi.h"

// Facts of a node that needs no kernel, for tests of what is said about them.
namespace npg::cli {

inline constexpr int64_t kNow = 1'793'620'800;           // 2026-11-02T12:00:00Z
inline constexpr uint64_t kNowBoot = 1'000'000'000'000;  // up for 1000 s

// "127.0.0.1" is stored v4-mapped, "::1" as it is.
inline std::array<uint8_t, 16> Address(const std::string& text) {
  std::array<uint8_t, 16> address{};
  const std::string v6 = text.find(':') == std::string::npos ? "::ffff:" + text : text;
  inet_pton(AF_INET6, v6.c_str(), address.data());
  return address;
}

template <size_t N>
void SetField(char (&field)[N], const std::string& text) {  // NOLINT(modernize-avoid-c-arrays)
  text.copy(field, N);
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
  return listener;
}

inline std::pair<npg_policy_key, npg_policy> MakePolicy(const std::string& comm,
                                                        npg_owner_verdict verdict) {
  npg_policy_key key{};
  SetField(key.comm, comm);
  return {key, npg_policy{static_cast<uint32_t>(verdict)}};
}

inline void AddNodePort(GuardFacts& facts, uint16_t port, const std::string& service,
                        uint32_t sources = NPG_SOURCE_NETFILTER, uint8_t protocol = IPPROTO_TCP) {
  npg_nodeport nodeport{};
  nodeport.sources = sources;
  nodeport.since = static_cast<uint64_t>(kNow - int64_t{3} * 86400);
  SetField(nodeport.service, service);
  facts.nodeports.emplace_back(npg_port_key{port, protocol, 0}, nodeport);
}

inline void Classify(GuardFacts& facts, const core::Listener& listener, npg_owner_verdict verdict,
                     const std::string& comm, uint32_t pid) {
  npg_listener_key key{};
  std::memcpy(key.address, listener.address.data(), sizeof(key.address));
  key.port = listener.key.port;
  key.protocol = static_cast<uint8_t>(listener.key.protocol);
  npg_listener value{};
  value.verdict = verdict;
  value.pid = pid;
  SetField(value.comm, comm);
  facts.classified.emplace_back(key, value);
}

// A source that works: 3 ports of 2 Services, connected for an hour.
inline npg_source_state& AddSource(GuardFacts& facts, npg_source source,
                                   const std::string& detail = "") {
  npg_source_state state{};
  state.connected = 1;
  state.services = 2;
  state.ports = 3;
  state.since = static_cast<uint64_t>(kNow) - 3600;
  state.last_event = state.last_reading = static_cast<uint64_t>(kNow) - 2;
  SetField(state.detail, detail);
  facts.sources.emplace_back(npg_source_key{source}, state);
  return facts.sources.back().second;
}

// A guard that works: containerd[812] on 127.0.0.1:33589/tcp, which is the
// NodePort of default/web.
inline GuardFacts MakeFacts() {
  GuardFacts facts;
  facts.bpffs = "/sys/fs/bpf";
  facts.config.abi_version = NPG_ABI_VERSION;
  facts.config.mode = NPG_MODE_ENFORCE;
  facts.config.mark = 0x1000;
  facts.config.mark_mask = 0x1000;
  facts.config.netns_cookie = 1;
  facts.config.started = static_cast<uint64_t>(kNow) - 3600;
  SetField(facts.config.version, "0.1.0");
  facts.policy = {MakePolicy("kube-proxy", NPG_OWNER_IGNORED),
                  MakePolicy("ovnkube", NPG_OWNER_IGNORED)};
  facts.controller = 4711;
  facts.same_netns = true;
  AddNodePort(facts, 33589, "default/web");
  npg_port_stats stats{};
  stats.exempted = 42;
  stats.observed = 7;
  stats.last = kNowBoot - 120'000'000'000;
  facts.stats.emplace_back(npg_port_key{33589, IPPROTO_TCP, 0}, stats);
  facts.counters[NPG_COUNTER_EXEMPTED] = 42;
  for (const char* name : dataplane::kLinkNames) {
    facts.links.push_back({{name, 1, 2, 1}, "/sys/fs/cgroup"});
  }
  facts.nft = dataplane::NftTableState{true, 4711, 168, 4, 2};
  facts.listeners.push_back(MakeListener("127.0.0.1", 33589, "containerd", 812));
  facts.now = absl::FromUnixSeconds(kNow);
  facts.now_boot_ns = kNowBoot;
  return facts;
}

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_TESTS_UNIT_CLI_FACTS_H_
