// SPDX-License-Identifier: Apache-2.0
#include "inspect/nft_probe.h"

#include <linux/netlink.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "core/port.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_rules.h"
#include "inspect/trial.h"
#include "node/sock_diag.h"

namespace npg::inspect {
namespace {

constexpr const char* kChain = "output";

int ErrnoOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kPermissionDenied:
      return EPERM;
    case absl::StatusCode::kUnimplemented:
      return ENOSYS;
    default:
      return EIO;
  }
}

void AddChainWithRule(dataplane::NftBatch& batch, const std::string& table) {
  const base::NftnlChain chain(nftnl_chain_alloc());
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, table.c_str());
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, kChain);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TYPE, "filter");
  nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_HOOKNUM, dataplane::kOutputHook.hook);
  nftnl_chain_set_s32(chain.get(), NFTNL_CHAIN_PRIO, dataplane::kOutputHook.priority);
  batch.Add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, "hook a chain to output",
            nftnl_chain_nlmsg_build_payload, chain.get());
  const base::NftnlRule rule(nftnl_rule_alloc());
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_TABLE, table.c_str());
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_CHAIN, kChain);
  nftnl_rule_add_expr(rule.get(), nftnl_expr_alloc("notrack"));
  batch.Add(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, "add a notrack rule",
            nftnl_rule_nlmsg_build_payload, rule.get());
}

Trial TryTable(Trial trial, uint32_t flags, bool with_rule) {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) {
    trial.error = ErrnoOf(socket.status());
    trial.detail = std::string(socket.status().message());
    return trial;
  }
  const std::string name = absl::StrCat("npg_doctor_", getpid());
  const base::NftnlTable table(nftnl_table_alloc());
  nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, name.c_str());
  nftnl_table_set_u32(table.get(), NFTNL_TABLE_FLAGS, flags);
  dataplane::NftBatch batch(*socket);
  batch.Add(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, "create a table",
            nftnl_table_nlmsg_build_payload, table.get());
  if (with_rule) AddChainWithRule(batch, name);
  const base::NftnlTable doomed(nftnl_table_alloc());
  nftnl_table_set_str(doomed.get(), NFTNL_TABLE_NAME, name.c_str());
  batch.Add(NFT_MSG_DELTABLE, 0, "remove it again", nftnl_table_nlmsg_build_payload, doomed.get());
  const absl::StatusOr<dataplane::NftCommit> commit = batch.Commit();
  if (!commit.ok()) {
    trial.error = ErrnoOf(commit.status());
    trial.detail = std::string(commit.status().message());
  } else if (commit->error != 0) {
    trial.error = commit->error == EOPNOTSUPP ? ENOSYS : commit->error;
    trial.detail = commit->what;
  }
  return trial;
}

}  // namespace

Trial TryNfTables() {
  return TryTable({"make an nftables table with a notrack rule", 0, ""}, 0, /*with_rule=*/true);
}

Trial TryNftOwner() {
  return TryTable({"make an nftables table that no other process can remove", 0, ""},
                  uint32_t{NFT_TABLE_F_OWNER} | dataplane::kTableFlagPersist, /*with_rule=*/false);
}

Trial TrySockDiag() {
  Trial trial{"list sockets by NETLINK_SOCK_DIAG", 0, ""};
  const auto listed = node::ListListenersOn([](const core::PortKey&) { return false; });
  if (!listed.ok()) {
    trial.error = ErrnoOf(listed.status());
    trial.detail = std::string(listed.status().message());
  }
  return trial;
}

}  // namespace npg::inspect
