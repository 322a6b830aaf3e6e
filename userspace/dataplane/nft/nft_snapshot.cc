// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_snapshot.h"

#include <linux/netlink.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/nft_generation.h"
#include "base/nft_objects.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {
namespace {

constexpr int kMaxReadings = 50;

// Lists all objects of one kind; the kernel filters by table if it supports that.
absl::StatusOr<base::NetlinkMessages> List(base::NetlinkSocket& socket, uint16_t type,
                                           uint16_t flags, absl::string_view what,
                                           absl::FunctionRef<void(nlmsghdr*)> payload) {
  std::array<char, 512> buffer{};
  nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), type, NFPROTO_INET, flags, 0);
  payload(request);
  return socket.Ask(*request, absl::StrCat("read ", what, " of nft table inet ", kNftTableName));
}

const std::string& TableName() {
  static const auto& name = *new std::string(kNftTableName);
  return name;
}

bool IsOurs(const char* table) { return table != nullptr && TableName() == table; }

absl::Status ReadTable(base::NetlinkSocket& socket, NftSnapshot& snapshot) {
  const base::NftnlTable table(nftnl_table_alloc());
  nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, TableName().c_str());
  const auto answer = List(socket, NFT_MSG_GETTABLE, 0, "the flags", [&](nlmsghdr* request) {
    nftnl_table_nlmsg_build_payload(request, table.get());
  });
  if (absl::IsNotFound(answer.status())) return absl::OkStatus();
  if (!answer.ok()) return answer.status();
  answer->ForEach([&snapshot](const nlmsghdr& message) {
    const base::NftnlTable found(nftnl_table_alloc());
    if (nftnl_table_nlmsg_parse(&message, found.get()) < 0) return;
    snapshot.present = true;
    snapshot.flags = nftnl_table_get_u32(found.get(), NFTNL_TABLE_FLAGS);
    if (nftnl_table_is_set(found.get(), NFTNL_TABLE_OWNER)) {
      snapshot.owner = nftnl_table_get_u32(found.get(), NFTNL_TABLE_OWNER);
    }
  });
  return absl::OkStatus();
}

absl::Status ReadChains(base::NetlinkSocket& socket, NftSnapshot& snapshot) {
  // Of all tables of the family: older kernels do not filter chains.
  const auto answer =
      List(socket, NFT_MSG_GETCHAIN, NLM_F_DUMP, "the chains", [](nlmsghdr* /*request*/) {});
  if (!answer.ok()) return answer.status();
  answer->ForEach([&snapshot](const nlmsghdr& message) {
    const base::NftnlChain found(nftnl_chain_alloc());
    if (nftnl_chain_nlmsg_parse(&message, found.get()) < 0) return;
    if (!IsOurs(nftnl_chain_get_str(found.get(), NFTNL_CHAIN_TABLE))) return;
    NftSnapshot::Chain chain;
    chain.anonymous =
        (nftnl_chain_get_u32(found.get(), NFTNL_CHAIN_FLAGS) & NFT_CHAIN_BINDING) != 0;
    chain.hooked = nftnl_chain_is_set(found.get(), NFTNL_CHAIN_HOOKNUM);
    if (chain.hooked) {
      chain.hook = nftnl_chain_get_u32(found.get(), NFTNL_CHAIN_HOOKNUM);
      chain.priority = nftnl_chain_get_s32(found.get(), NFTNL_CHAIN_PRIO);
      chain.policy = nftnl_chain_get_u32(found.get(), NFTNL_CHAIN_POLICY);
      const char* type = nftnl_chain_get_str(found.get(), NFTNL_CHAIN_TYPE);
      chain.type = type == nullptr ? "" : type;
    }
    snapshot.chains[nftnl_chain_get_str(found.get(), NFTNL_CHAIN_NAME)] = std::move(chain);
  });
  return absl::OkStatus();
}

absl::Status ReadRules(base::NetlinkSocket& socket, NftSnapshot& snapshot) {
  const base::NftnlRule filter(nftnl_rule_alloc());
  nftnl_rule_set_str(filter.get(), NFTNL_RULE_TABLE, TableName().c_str());
  const auto answer =
      List(socket, NFT_MSG_GETRULE, NLM_F_DUMP, "the rules",
           [&](nlmsghdr* request) { nftnl_rule_nlmsg_build_payload(request, filter.get()); });
  if (!answer.ok()) return answer.status();
  answer->ForEach([&snapshot](const nlmsghdr& message) {
    const base::NftnlRule found(nftnl_rule_alloc());
    if (nftnl_rule_nlmsg_parse(&message, found.get()) < 0) return;
    if (!IsOurs(nftnl_rule_get_str(found.get(), NFTNL_RULE_TABLE))) return;
    snapshot.chains[nftnl_rule_get_str(found.get(), NFTNL_RULE_CHAIN)].rules.push_back(
        RuleText(*found));
  });
  return absl::OkStatus();
}

absl::Status ReadSets(base::NetlinkSocket& socket, NftSnapshot& snapshot) {
  const base::NftnlSet filter(nftnl_set_alloc());
  nftnl_set_set_str(filter.get(), NFTNL_SET_TABLE, TableName().c_str());
  const auto answer = List(socket, NFT_MSG_GETSET, NLM_F_DUMP, "the sets", [&](nlmsghdr* request) {
    nftnl_set_nlmsg_build_payload(request, filter.get());
  });
  if (!answer.ok()) return answer.status();
  answer->ForEach([&snapshot](const nlmsghdr& message) {
    const base::NftnlSet found(nftnl_set_alloc());
    if (nftnl_set_nlmsg_parse(&message, found.get()) < 0) return;
    if (!IsOurs(nftnl_set_get_str(found.get(), NFTNL_SET_TABLE))) return;
    NftSnapshot::Set& set = snapshot.sets[nftnl_set_get_str(found.get(), NFTNL_SET_NAME)];
    set.key_type = nftnl_set_get_u32(found.get(), NFTNL_SET_KEY_TYPE);
    set.key_length = nftnl_set_get_u32(found.get(), NFTNL_SET_KEY_LEN);
    set.flags = nftnl_set_get_u32(found.get(), NFTNL_SET_FLAGS);
    set.size = nftnl_set_get_u32(found.get(), NFTNL_SET_DESC_SIZE);
  });
  return absl::OkStatus();
}

absl::Status ReadObjects(base::NetlinkSocket& socket, NftSnapshot& snapshot) {
  const base::NftnlObject filter(nftnl_obj_alloc());
  nftnl_obj_set_str(filter.get(), NFTNL_OBJ_TABLE, TableName().c_str());
  const auto answer =
      List(socket, NFT_MSG_GETOBJ, NLM_F_DUMP, "the counter",
           [&](nlmsghdr* request) { nftnl_obj_nlmsg_build_payload(request, filter.get()); });
  if (!answer.ok()) return answer.status();
  answer->ForEach([&snapshot](const nlmsghdr& message) {
    const base::NftnlObject found(nftnl_obj_alloc());
    if (nftnl_obj_nlmsg_parse(&message, found.get()) < 0) return;
    if (!IsOurs(nftnl_obj_get_str(found.get(), NFTNL_OBJ_TABLE))) return;
    NftSnapshot::Object object;
    object.type = nftnl_obj_get_u32(found.get(), NFTNL_OBJ_TYPE);
    if (object.type == NFT_OBJECT_COUNTER) {
      object.packets = nftnl_obj_get_u64(found.get(), NFTNL_OBJ_CTR_PKTS);
      object.bytes = nftnl_obj_get_u64(found.get(), NFTNL_OBJ_CTR_BYTES);
    }
    snapshot.objects[nftnl_obj_get_str(found.get(), NFTNL_OBJ_NAME)] = object;
  });
  return absl::OkStatus();
}

absl::StatusOr<NftSnapshot> ReadOnce(base::NetlinkSocket& socket) {
  NftSnapshot snapshot;
  const absl::StatusOr<uint32_t> generation = base::NftGeneration(socket);
  if (!generation.ok()) return generation.status();
  snapshot.generation = *generation;
  NPG_RETURN_IF_ERROR(ReadTable(socket, snapshot));
  if (!snapshot.present) return snapshot;
  NPG_RETURN_IF_ERROR(ReadChains(socket, snapshot));
  NPG_RETURN_IF_ERROR(ReadRules(socket, snapshot));
  NPG_RETURN_IF_ERROR(ReadSets(socket, snapshot));
  NPG_RETURN_IF_ERROR(ReadObjects(socket, snapshot));
  return snapshot;
}

}  // namespace

absl::StatusOr<uint64_t> ReadNftCounter(base::NetlinkSocket& socket, absl::string_view name) {
  const base::NftnlObject wanted(nftnl_obj_alloc());
  nftnl_obj_set_str(wanted.get(), NFTNL_OBJ_TABLE, TableName().c_str());
  nftnl_obj_set_str(wanted.get(), NFTNL_OBJ_NAME, std::string(name).c_str());
  nftnl_obj_set_u32(wanted.get(), NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
  const auto answer = List(socket, NFT_MSG_GETOBJ, 0, "the counter", [&](nlmsghdr* request) {
    nftnl_obj_nlmsg_build_payload(request, wanted.get());
  });
  if (!answer.ok()) return answer.status();
  uint64_t packets = 0;
  answer->ForEach([&packets](const nlmsghdr& message) {
    const base::NftnlObject found(nftnl_obj_alloc());
    if (nftnl_obj_nlmsg_parse(&message, found.get()) < 0) return;
    packets = nftnl_obj_get_u64(found.get(), NFTNL_OBJ_CTR_PKTS);
  });
  return packets;
}

bool NftSnapshot::HasIpvsBypass() const {
  return chains.contains(kBypassChain) || chains.contains(kBypassBackChain);
}

absl::StatusOr<NftSnapshot> ReadNftSnapshot(base::NetlinkSocket& socket) {
  for (int reading = 0; reading < kMaxReadings; ++reading) {
    absl::StatusOr<NftSnapshot> snapshot = ReadOnce(socket);
    if (absl::IsPermissionDenied(snapshot.status())) {
      return base::Annotate(snapshot.status(), "nf_tables needs CAP_NET_ADMIN");
    }
    const absl::StatusOr<uint32_t> generation = base::NftGeneration(socket);
    if (!generation.ok()) {
      // nfnetlink's error for a subsystem that it neither has nor can load.
      if (!absl::IsInvalidArgument(generation.status())) return generation.status();
      return absl::UnimplementedError("this kernel has no nf_tables (CONFIG_NF_TABLES)");
    }
    // NOT_FOUND: the table was removed between two requests.
    if (snapshot.ok() && snapshot->generation == *generation) return snapshot;
    if (!snapshot.ok() && !absl::IsNotFound(snapshot.status())) return snapshot;
  }
  return absl::UnavailableError(absl::StrCat("read nft table inet ", kNftTableName,
                                             ": the rule set changed during each of ", kMaxReadings,
                                             " readings"));
}

}  // namespace npg::dataplane
