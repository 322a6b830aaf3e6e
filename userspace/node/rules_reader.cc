// SPDX-License-Identifier: Apache-2.0
#include "node/rules_reader.h"

#include <linux/netlink.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "base/subprocess.h"
#include "node/ip_rules.h"
#include "node/iptables_rules.h"
#include "node/kube_proxy_table.h"
#include "node/mark_use.h"
#include "node/nft_marks.h"
#include "node/node_files.h"
#include "node/node_port_traces.h"
#include "node/save_commands.h"

namespace npg::node {
namespace {

constexpr std::array<absl::string_view, 5> kIptablesTables = {"filter", "nat", "mangle", "raw",
                                                              "security"};

bool IsIptables(const NftTableId& table, uint8_t family) {
  return table.first == family && std::find(kIptablesTables.begin(), kIptablesTables.end(),
                                            table.second) != kIptablesTables.end();
}

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

class Reader {
 public:
  Reader(const std::string& proc, const std::string& own_table)
      : proc_(proc), own_table_(own_table) {}

  RulesSeen Read() {
    Take(ReadIpRuleMarks());
    const std::vector<std::string> folders = CommandFolders();
    const SaveCommands ip4 = FindSaveCommands("iptables", folders);
    const SaveCommands ip6 = FindSaveCommands("ip6tables", folders);
    ReadNft(ip4.nft, ip6.nft);
    if (HasLegacyTables(proc_, false)) Save(ip4.legacy, "iptables-legacy", kLegacy);
    if (HasLegacyTables(proc_, true)) Save(ip6.legacy, "ip6tables-legacy", kLegacy);
    const absl::StatusOr<bool> nftables = HasKubeProxyRules();
    seen_.nftables = nftables.value_or(false);
    // Of this namespace, as kube-proxy makes it for the addresses of Services.
    seen_.ipvs = seen_.ipvs || ReadNodePortTraces().ipvs;
    return std::move(seen_);
  }

 private:
  enum Variant { kNft, kLegacy };

  void Unseen(absl::string_view what, absl::string_view why) {
    seen_.unseen.push_back(absl::StrCat(what, ": ", why));
  }

  void Take(const absl::StatusOr<std::vector<MarkUse>>& marks) {
    if (!marks.ok()) return Unseen("rules", marks.status().message());
    seen_.marks.insert(seen_.marks.end(), marks->begin(), marks->end());
  }

  void ReadNft(const std::string& save4, const std::string& save6) {
    auto socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
    if (!socket.ok()) return Unseen("nftables rules", socket.status().message());
    const auto tables = ListNftTables(*socket);
    if (absl::IsUnimplemented(tables.status())) return;  // kernel-nf-tables says so
    if (!tables.ok()) {
      return Unseen("nftables and iptables-nft rules", tables.status().message());
    }
    absl::btree_set<NftTableId> read_already;
    for (const auto& [family, command, name] :
         {std::tuple{uint8_t{NFPROTO_IPV4}, &save4, "iptables-nft"},
          std::tuple{uint8_t{NFPROTO_IPV6}, &save6, "ip6tables-nft"}}) {
      const uint8_t wanted = family;
      if (std::none_of(tables->begin(), tables->end(),
                       [wanted](const NftTableId& table) { return IsIptables(table, wanted); })) {
        continue;
      }
      // Without the command, its rules are read as all others of nf_tables; what they say of
      // kube-proxy stays unread.
      for (const std::string& table : Save(*command, name, kNft)) {
        read_already.emplace(wanted, table);
      }
    }
    const NftTableId own{NFPROTO_INET, own_table_};
    Take(ReadNftMarks(*socket, [&](const NftTableId& table) {
      return table != own && !read_already.contains(table);
    }));
  }

  // Returns the tables that it has printed.
  absl::btree_set<std::string> Save(const std::string& command, absl::string_view name,
                                    Variant variant) {
    if (command.empty()) {
      Unseen(absl::StrCat(name, " rules"),
             absl::StrCat("there is no ", name, "-save; install the package iptables"));
      return {};
    }
    const absl::StatusOr<std::string> saved = Output(command);
    if (!saved.ok()) {
      Unseen(absl::StrCat(name, " rules"), saved.status().message());
      return {};
    }
    IptablesRules rules = ParseIptablesRules(*saved, name);
    seen_.marks.insert(seen_.marks.end(), rules.marks.begin(), rules.marks.end());
    (variant == kNft ? seen_.iptables_nft : seen_.iptables_legacy) |= rules.nodeports;
    seen_.loopback_too |= rules.loopback_too && !absl::StartsWith(name, "ip6");
    seen_.localhost_nfacct |= rules.localhost_nfacct;
    seen_.ipvs |= rules.ipvs_mode;
    return std::move(rules.tables);
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
