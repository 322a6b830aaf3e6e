// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "cli/args/options.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/explain_report.h"
#include "cli/explain_rules.h"
#include "cli/gather.h"
#include "cli/output.h"
#include "cli/table.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/port.h"
#include "inspect/guard_facts.h"
#include "node/ip_vs_services.h"
#include "node/node_addresses.h"
#include "rules/connect.h"

namespace npg::cli {
namespace {

// The ports of services of IPVS on loopback, and on the node's addresses or loopback.
struct IpVsTaken {
  absl::btree_set<core::PortKey> loopback, any;

  // kube-proxy makes the same services on each address of the node.
  bool Takes(const core::PortKey& key, const std::array<uint8_t, 16>& address) const {
    return (core::IsLoopback(address) ? loopback : any).contains(key);
  }
};

IpVsTaken ReadIpVs(const core::AddressSet& own) {
  IpVsTaken taken;
  if (auto ports = node::IpVsPorts({}); ports.ok()) taken.loopback = *std::move(ports);
  if (auto ports = node::IpVsPorts(own); ports.ok()) taken.any = *std::move(ports);
  return taken;
}

// Adds what the rules of this network namespace do with the connects of the walks.
absl::Status AddRules(uint16_t port, ExplainReport& report) {
  const absl::StatusOr<std::vector<core::NodeAddress>> addresses = node::ListNodeAddresses();
  if (!addresses.ok()) return addresses.status();
  const core::AddressSet own = node::ToSet(*addresses);
  // A walk of its own has what reaches a listener on one address.
  core::AddressSet others = own;
  for (const Walk& walk : report.walks) others.erase(walk.address);

  std::vector<rules::Connect> connects;
  const auto add = [&connects](const rules::Connect& connect) {
    if (std::find(connects.begin(), connects.end(), connect) == connects.end()) {
      connects.push_back(connect);
    }
  };
  for (const Walk& walk : report.walks) {
    add({walk.key.protocol, walk.address});
    for (const std::array<uint8_t, 16>& address : OtherAddresses(others, walk.listener)) {
      add({walk.key.protocol, address});
    }
  }
  RulesFollower follower(connects, own, port);
  if (absl::Status status = follower.Read(); !status.ok()) return status;
  const IpVsTaken ip_vs = ReadIpVs(own);
  for (Walk& walk : report.walks) {
    absl::StatusOr<WalkRules> followed = FollowRules(
        walk.key, walk.address, OtherAddresses(others, walk.listener),
        [&follower](const rules::Connect& connect, uint16_t to) {
          return follower.Trace(connect, to);
        },
        [&ip_vs](const core::PortKey& key, const std::array<uint8_t, 16>& address) {
          return ip_vs.Takes(key, address);
        });
    if (!followed.ok()) return followed.status();
    walk.rules = *std::move(followed);
    if (!follower.failed().empty()) KeepDecided(walk.rules);
  }
  report.rules_unread = absl::StrJoin(follower.failed(), "; ");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> Execute(const ExplainOptions& options) {
  absl::StatusOr<inspect::GuardFacts> facts =
      Gather(options.node,
             [&](const core::PortKey& key, bool /*nodeport*/) { return key.port == options.port; });
  if (!facts.ok()) return facts.status();
  ExplainReport report = MakeExplainReport(*std::move(facts), options);
  if (const absl::Status status = AddRules(options.port, report); !status.ok()) {
    report.rules_unread = std::string(status.message());
  }
  const absl::Status written = WriteOut(options.output == OutputFormat::kTable
                                            ? RenderExplain(report, StyleOfStdout())
                                            : ToDocument(ExplainJson(report), options.output));
  if (!written.ok()) return written;
  return report.status.healthy() ? kExitOk : kExitRuntimeError;
}

}  // namespace npg::cli
