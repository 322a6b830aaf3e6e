// SPDX-License-Identifier: Apache-2.0
#include "node/rules_reader.h"

#include <linux/netlink.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "base/nft_objects.h"
#include "base/subprocess.h"
#include "node/ip_rules.h"
#include "node/kube_proxy_table.h"
#include "node/mark_use.h"
#include "node/nft_queries.h"
#include "node/nft_tables.h"
#include "node/node_files.h"
#include "node/node_port_traces.h"
#include "node/rule_marks.h"
#include "rules/nft_rule_decoder.h"
#include "rules/rule.h"
#include "rules/save_command.h"
#include "rules/save_parser.h"

namespace npg::node {
namespace {

constexpr absl::string_view kNatTable = "nat";
// Chains of kube-proxy in the table nat (Kubernetes: pkg/proxy/iptables/proxier.go,
// pkg/proxy/ipvs/proxier.go).
constexpr absl::string_view kNodePortsOfIptables = "KUBE-NODEPORTS";
constexpr absl::string_view kNodePortOfIpvs = "KUBE-NODE-PORT";
// The prefix of the names of nfacct objects that count connects to NodePorts on loopback. A match
// "nfacct" always holds, so that the decoder leaves it out.
constexpr absl::string_view kLocalhostAccount = "localhost_nps_";

absl::StatusOr<std::string> Output(const std::string& command) {
  absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  absl::StatusOr<std::string> output = absl::UnknownError("it did not end");
  const auto process =
      base::Subprocess::Start(**loop, {command}, {}, [&](absl::StatusOr<std::string> printed) {
        output = std::move(printed);
        (*loop)->Stop();
      });
  if (!process.ok()) return process.status();
  NPG_RETURN_IF_ERROR((*loop)->Run());
  return output;
}

// Gathers what rules do.
class RulesGatherer : public rules::SaveParser::Sink {
 public:
  void Chain(const rules::ChainName& chain) override {
    seen_.ipvs |= chain.table.name == kNatTable && chain.name == kNodePortOfIpvs;
  }

  void Append(const rules::ChainName& chain, const rules::Rule& rule) override {
    for (MarkUse& use : MarksOf(chain, rule)) seen_.marks.push_back(std::move(use));
    const rules::TableId& table = chain.table;
    const bool ipv4 = table.family == NFPROTO_IPV4;
    if (table.name != kNatTable || (!ipv4 && table.family != NFPROTO_IPV6)) return;
    if (!JumpsTo(rule, kNodePortsOfIptables)) return;
    (table.engine == rules::Engine::kLegacy ? seen_.iptables_legacy : seen_.iptables_nft) = true;
    seen_.loopback_too |= ipv4 && AdmitsLoopback(rule);
  }

  // The rule as the kernel or the save command has it.
  void LookAt(absl::string_view bytes) {
    seen_.localhost_nfacct |= absl::StrContains(bytes, kLocalhostAccount);
  }

  void AddTo(RulesSeen& seen) && {
    for (MarkUse& use : seen_.marks) seen.marks.push_back(std::move(use));
    seen.iptables_nft |= seen_.iptables_nft;
    seen.iptables_legacy |= seen_.iptables_legacy;
    seen.ipvs |= seen_.ipvs;
    seen.loopback_too |= seen_.loopback_too;
    seen.localhost_nfacct |= seen_.localhost_nfacct;
  }

 private:
  RulesSeen seen_;
};

class Reader {
 public:
  Reader(const std::string& proc, const std::string& own_table)
      : proc_(proc), own_table_(own_table) {}

  RulesSeen Read() {
    Take(ReadIpRuleMarks());
    ReadNft();
    for (const bool ipv6 : {false, true}) {
      if (HasLegacyTables(proc_, ipv6)) ReadLegacy(ipv6);
    }
    const absl::StatusOr<bool> nftables = HasKubeProxyRules();
    seen_.nftables = nftables.value_or(false);
    // Of this namespace, as kube-proxy makes it for the addresses of Services.
    seen_.ipvs = seen_.ipvs || ReadNodePortTraces().ipvs;
    return std::move(seen_);
  }

 private:
  void Unseen(absl::string_view what, absl::string_view why) {
    seen_.unseen.push_back(absl::StrCat(what, ": ", why));
  }

  void Take(const absl::StatusOr<std::vector<MarkUse>>& marks) {
    if (!marks.ok()) return Unseen("rules", marks.status().message());
    seen_.marks.insert(seen_.marks.end(), marks->begin(), marks->end());
  }

  void ReadNft() {
    auto socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
    if (!socket.ok()) return Unseen("nftables rules", socket.status().message());
    const auto tables = ListNftTables(*socket);
    if (absl::IsUnimplemented(tables.status())) return;  // kernel-nf-tables says so
    absl::Status status = tables.status();
    if (status.ok()) status = ReadNftRules(*socket);
    if (!status.ok()) return Unseen("nftables and iptables-nft rules", status.message());
    for (const uint8_t family : {uint8_t{NFPROTO_IPV4}, uint8_t{NFPROTO_IPV6}}) {
      const absl::StatusOr<bool> ipvs = HasChain(family, kNatTable, kNodePortOfIpvs);
      seen_.ipvs = seen_.ipvs || ipvs.value_or(false);
    }
  }

  absl::Status ReadNftRules(base::NetlinkSocket& socket) {
    const rules::TableId own{rules::Engine::kNfTables, NFPROTO_INET, own_table_};
    std::array<char, 512> buffer{};
    nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETRULE, NFPROTO_UNSPEC,
                                              NLM_F_REQUEST | NLM_F_DUMP, 0);
    RulesGatherer gathered;
    NPG_RETURN_IF_ERROR(socket.AskForEach(
        *request, "read the nftables rules", [&gathered] { gathered = RulesGatherer(); },
        [&](const nlmsghdr& header) {
          const base::NetlinkMessage message = base::ViewOf(header);
          const std::optional<rules::NftRule> rule = rules::DecodeNftRule(message);
          if (!rule || rule->chain.table == own) return;
          gathered.Append(rule->chain, rule->rule);
          gathered.LookAt(message.payload);
        }));
    std::move(gathered).AddTo(seen_);
    return absl::OkStatus();
  }

  void ReadLegacy(bool ipv6) {
    const std::string name = ipv6 ? "ip6tables" : "iptables";
    const std::string what = absl::StrCat(name, "-legacy rules");
    const std::string command = rules::FindLegacySaveCommand(name, rules::CommandFolders());
    if (command.empty()) {
      return Unseen(
          what, absl::StrCat("there is no ", name, "-legacy-save; install the package iptables"));
    }
    const absl::StatusOr<std::string> saved = Output(command);
    if (!saved.ok()) return Unseen(what, saved.status().message());
    RulesGatherer gathered;
    rules::SaveParser parser(ipv6 ? NFPROTO_IPV6 : NFPROTO_IPV4, gathered);
    parser.Feed(*saved);
    gathered.LookAt(*saved);
    if (const absl::Status status = parser.Finish(); !status.ok()) {
      Unseen(what, status.message());
    }
    for (const std::string& line : parser.skipped()) Unseen(what, line);
    std::move(gathered).AddTo(seen_);
  }

  const std::string& proc_;
  const std::string& own_table_;
  RulesSeen seen_;
};

}  // namespace

RulesSeen ReadRules(const std::string& proc, const std::string& own_table) {
  return Reader(proc, own_table).Read();
}

}  // namespace npg::node
