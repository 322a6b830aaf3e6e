// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_install.h"

#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_snapshot.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {
namespace {

constexpr uint32_t kTableFlagOwner = NFT_TABLE_F_OWNER;
// Never OWNER without PERSIST: the kernel removes such a table with the owner's socket.
constexpr uint32_t kOwnedFlags = kTableFlagOwner | kTableFlagPersist;

// Other processes may change the rule set between our read and our transaction.
constexpr int kMaxTries = 50;

constexpr absl::string_view kTableMessage = "create nft table inet nodeport_guard";

std::string Name(absl::string_view text) { return std::string(text); }

bool SameKey(const NftSnapshot::Set& set, const NftSetSpec& spec) {
  return set.key_type == spec.key_type() && set.key_length == spec.key_length();
}

bool SameShape(const NftSnapshot::Set& set, const NftSetSpec& spec,
               std::optional<uint32_t> tuples) {
  return SameKey(set, spec) && set.flags == spec.flags() && set.size == spec.size(tuples);
}

bool SameHook(const NftSnapshot::Chain& chain, const NftChain& wanted) {
  if (!wanted.hook) return !chain.hooked;
  return chain.hooked && NftHook{chain.hook, chain.priority} == *wanted.hook &&
         chain.type == "filter";
}

NftRuleFacts RuleFacts(const NftSettings& settings, const NftSnapshot& now) {
  NftRuleFacts facts;
  facts.mark = settings.mark;
  facts.former_mark = settings.former_mark;
  facts.blocks =
      settings.blocks.value_or(now.present ? core::PortBlocks::All() : core::PortBlocks::Default());
  facts.ipvs_bypass = settings.ipvs_bypass.value_or(now.HasIpvsBypass());
  facts.asked = settings.asked.value_or(now.chains.contains(kAskedChain));
  return facts;
}

// One transaction, built from the present and the desired state.
class Plan {
 public:
  Plan(base::NetlinkSocket& socket, const NftSettings& settings, const NftSnapshot& now,
       uint32_t flags)
      : socket_(socket),
        settings_(settings),
        now_(now),
        flags_(flags),
        chains_(MakeChains(RuleFacts(settings, now))),
        batch_(socket, now.generation) {}

  absl::StatusOr<NftCommit> Run() {
    keep_ = now_.present && FlagsFit();
    keep_ = keep_ && !AddsHookWhileFlagsChange();
    if (now_.present && !keep_) DeleteTable();
    AddTable();
    if (keep_) {
      DeleteRules();
      DeleteStrangers();
    }
    AddCounter();
    for (const NftSetSpec& spec : kNftSets) {
      if (absl::Status status = AddSet(spec); !status.ok()) return status;
    }
    AddChains();
    AddRules();
    return batch_.Commit();
  }

 private:
  static base::NftnlTable MakeTable() {
    base::NftnlTable table(nftnl_table_alloc());
    nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, Name(kNftTableName).c_str());
    return table;
  }

  // The kernel adds an owner only to a table that was created with PERSIST, and never
  // changes PERSIST. A dormant table has its hook chain unregistered; it is rebuilt, too.
  bool FlagsFit() const {
    if (flags_ == 0) return now_.flags == 0;
    return (now_.flags | kTableFlagOwner) == kOwnedFlags;
  }

  bool Keeps(const NftSetSpec& spec) const {
    const auto it = now_.sets.find(spec.name);
    return keep_ && it != now_.sets.end() && SameShape(it->second, spec, settings_.set_size);
  }

  bool KeepsChain(const NftChain& wanted) const {
    const auto it = now_.chains.find(wanted.name);
    return keep_ && it != now_.chains.end() && SameHook(it->second, wanted);
  }

  // The kernel refuses both in one transaction.
  bool AddsHookWhileFlagsChange() const {
    return now_.flags != flags_ &&
           std::any_of(chains_.begin(), chains_.end(), [this](const NftChain& wanted) {
             return wanted.hook && !KeepsChain(wanted);
           });
  }

  bool KeepsCounter() const {
    const auto it = now_.objects.find(kExemptedCounter);
    return keep_ && it != now_.objects.end() && it->second.type == NFT_OBJECT_COUNTER;
  }

  void DeleteTable() {
    const base::NftnlTable table = MakeTable();
    batch_.Add(NFT_MSG_DELTABLE, 0, absl::StrCat("remove nft table inet ", kNftTableName),
               nftnl_table_nlmsg_build_payload, table.get());
  }

  void AddTable() {
    const base::NftnlTable table = MakeTable();
    nftnl_table_set_u32(table.get(), NFTNL_TABLE_FLAGS, flags_);
    batch_.Add(NFT_MSG_NEWTABLE, NLM_F_CREATE, kTableMessage, nftnl_table_nlmsg_build_payload,
               table.get());
  }

  void DeleteRules() {
    const base::NftnlRule rule(nftnl_rule_alloc());
    nftnl_rule_set_str(rule.get(), NFTNL_RULE_TABLE, Name(kNftTableName).c_str());
    batch_.Add(NFT_MSG_DELRULE, 0, "remove all rules", nftnl_rule_nlmsg_build_payload, rule.get());
  }

  // Removes foreign and obsolete chains, sets and objects. Sets first: their elements
  // may name chains and objects. The kernel removed anonymous ones with their rules.
  void DeleteStrangers() {
    for (const auto& [name, set] : now_.sets) {
      if ((set.flags & NFT_SET_ANONYMOUS) != 0) continue;
      const std::string& key = name;
      if (std::any_of(kNftSets.begin(), kNftSets.end(),
                      [&](const auto& spec) { return spec.name == key && Keeps(spec); })) {
        continue;
      }
      const base::NftnlSet doomed(nftnl_set_alloc());
      nftnl_set_set_str(doomed.get(), NFTNL_SET_TABLE, Name(kNftTableName).c_str());
      nftnl_set_set_str(doomed.get(), NFTNL_SET_NAME, name.c_str());
      batch_.Add(NFT_MSG_DELSET, 0, absl::StrCat("remove set ", name),
                 nftnl_set_nlmsg_build_payload, doomed.get());
    }
    for (const auto& [name, chain] : now_.chains) {
      const std::string& key = name;
      if (chain.anonymous ||
          std::any_of(chains_.begin(), chains_.end(), [&](const NftChain& wanted) {
            return wanted.name == key && KeepsChain(wanted);
          })) {
        continue;
      }
      const base::NftnlChain doomed(nftnl_chain_alloc());
      nftnl_chain_set_str(doomed.get(), NFTNL_CHAIN_TABLE, Name(kNftTableName).c_str());
      nftnl_chain_set_str(doomed.get(), NFTNL_CHAIN_NAME, name.c_str());
      batch_.Add(NFT_MSG_DELCHAIN, 0, absl::StrCat("remove chain ", name),
                 nftnl_chain_nlmsg_build_payload, doomed.get());
    }
    for (const auto& [name, object] : now_.objects) {
      if (name == kExemptedCounter && KeepsCounter()) continue;
      const base::NftnlObject doomed(nftnl_obj_alloc());
      nftnl_obj_set_str(doomed.get(), NFTNL_OBJ_TABLE, Name(kNftTableName).c_str());
      nftnl_obj_set_str(doomed.get(), NFTNL_OBJ_NAME, name.c_str());
      nftnl_obj_set_u32(doomed.get(), NFTNL_OBJ_TYPE, object.type);
      batch_.Add(NFT_MSG_DELOBJ, 0, absl::StrCat("remove object ", name),
                 nftnl_obj_nlmsg_build_payload, doomed.get());
    }
  }

  void AddCounter() {
    if (KeepsCounter()) return;
    const base::NftnlObject counter(nftnl_obj_alloc());
    nftnl_obj_set_str(counter.get(), NFTNL_OBJ_TABLE, Name(kNftTableName).c_str());
    nftnl_obj_set_str(counter.get(), NFTNL_OBJ_NAME, Name(kExemptedCounter).c_str());
    nftnl_obj_set_u32(counter.get(), NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
    const auto before = now_.objects.find(kExemptedCounter);
    const bool go_on = before != now_.objects.end();
    nftnl_obj_set_u64(counter.get(), NFTNL_OBJ_CTR_PKTS, go_on ? before->second.packets : 0);
    nftnl_obj_set_u64(counter.get(), NFTNL_OBJ_CTR_BYTES, go_on ? before->second.bytes : 0);
    batch_.Add(NFT_MSG_NEWOBJ, NLM_F_CREATE, absl::StrCat("add counter ", kExemptedCounter),
               nftnl_obj_nlmsg_build_payload, counter.get());
  }

  absl::Status AddSet(const NftSetSpec& spec) {
    if (Keeps(spec)) return absl::OkStatus();
    const base::NftnlSet set(nftnl_set_alloc());
    nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, Name(kNftTableName).c_str());
    nftnl_set_set_str(set.get(), NFTNL_SET_NAME, Name(spec.name).c_str());
    nftnl_set_set_u32(set.get(), NFTNL_SET_ID, next_set_id_++);
    nftnl_set_set_u32(set.get(), NFTNL_SET_FLAGS, spec.flags());
    nftnl_set_set_u32(set.get(), NFTNL_SET_KEY_TYPE, spec.key_type());
    nftnl_set_set_u32(set.get(), NFTNL_SET_KEY_LEN, spec.key_length());
    nftnl_set_set_u32(set.get(), NFTNL_SET_DESC_SIZE, spec.size(settings_.set_size));
    batch_.Add(NFT_MSG_NEWSET, NLM_F_CREATE, absl::StrCat("add set ", spec.name),
               nftnl_set_nlmsg_build_payload, set.get());
    const auto before = now_.sets.find(spec.name);
    if (before == now_.sets.end() || !SameKey(before->second, spec)) return absl::OkStatus();
    auto kept = ReadNftElements(socket_, spec.name);
    if (!kept.ok()) return kept.status();
    // Also both directions of a TCP connection, of an earlier build's table: the set does not
    // show which of them is the reply. The rules look up either, and the end of the connection
    // shortens both.
    const size_t size = spec.size(settings_.set_size);
    if (kept->size() > size) kept->resize(size);
    AddElements(batch_, spec.name, *kept);
    return absl::OkStatus();
  }

  void AddChains() {
    for (const NftChain& wanted : chains_) {
      const auto before = now_.chains.find(wanted.name);
      if (KeepsChain(wanted) && (!wanted.hook || before->second.policy == NF_ACCEPT)) continue;
      const base::NftnlChain chain(nftnl_chain_alloc());
      nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, Name(kNftTableName).c_str());
      nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, wanted.name.c_str());
      if (wanted.hook) {
        nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TYPE, "filter");
        nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_HOOKNUM, wanted.hook->hook);
        nftnl_chain_set_s32(chain.get(), NFTNL_CHAIN_PRIO, wanted.hook->priority);
        nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_POLICY, NF_ACCEPT);
      }
      batch_.Add(NFT_MSG_NEWCHAIN, NLM_F_CREATE, absl::StrCat("add chain ", wanted.name),
                 nftnl_chain_nlmsg_build_payload, chain.get());
    }
  }

  void AddRules() {
    for (const NftChain& chain : chains_) {
      for (const base::NftnlRule& rule : chain.rules) {
        batch_.Add(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
                   absl::StrCat("add rule to chain ", chain.name), nftnl_rule_nlmsg_build_payload,
                   rule.get());
      }
    }
  }

  base::NetlinkSocket& socket_;
  const NftSettings& settings_;
  const NftSnapshot& now_;
  const uint32_t flags_;
  const std::vector<NftChain> chains_;
  NftBatch batch_;
  bool keep_ = false;
  uint32_t next_set_id_ = 1;
};

absl::Status RefusedByOwner(uint32_t owner) {
  return absl::PermissionDeniedError(
      absl::StrCat("nft table inet ", kNftTableName,
                   " is owned by another live process: netlink "
                   "port ",
                   owner, ", which as a rule is its pid; stop that process first"));
}

absl::Status Explain(const NftCommit& commit) {
  // The kernel's errors for an expression, a set type or an address family that is
  // neither built in nor can be loaded.
  if (commit.error == ENOENT || commit.error == EAFNOSUPPORT || commit.error == EOPNOTSUPP) {
    return absl::UnimplementedError(
        absl::StrCat(commit.ToStatus().message(),
                     "; this kernel lacks something of nf_tables: modules nf_tables (inet), "
                     "nft_ct, nft_objref and nft_counter are needed"));
  }
  return commit.ToStatus();
}

}  // namespace

absl::StatusOr<NftInstalled> InstallTable(base::NetlinkSocket& socket,
                                          const NftSettings& settings) {
  bool own = settings.own;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    const absl::StatusOr<NftSnapshot> now = ReadNftSnapshot(socket);
    if (!now.ok()) return now.status();
    if (now->owner != 0 && now->owner != socket.port_id()) return RefusedByOwner(now->owner);
    Plan plan(socket, settings, *now, own ? kOwnedFlags : 0);
    const absl::StatusOr<NftCommit> commit = plan.Run();
    if (absl::IsNotFound(commit.status())) continue;  // a set was removed while it was copied
    if (!commit.ok()) return commit.status();
    if (commit->error == 0) {
      const NftRuleFacts facts = RuleFacts(settings, *now);
      return NftInstalled{own, now->present, facts.ipvs_bypass, facts.asked, facts.blocks};
    }
    if (commit->error == ERESTART) continue;
    // Kernels before 6.9 lack PERSIST, those before 5.12 also OWNER.
    if (own && commit->what == kTableMessage &&
        (commit->error == EOPNOTSUPP || commit->error == EINVAL)) {
      own = false;
      continue;
    }
    return Explain(*commit);
  }
  return absl::UnavailableError(absl::StrCat("install nft table inet ", kNftTableName,
                                             ": the rule set changed during each of ", kMaxTries,
                                             " tries"));
}

bool IsIntact(const NftSnapshot& snapshot, const NftSettings& settings, bool owned) {
  if (!snapshot.present || snapshot.flags != (owned ? kOwnedFlags : 0)) return false;
  const std::vector<NftChain> chains = MakeChains(RuleFacts(settings, snapshot));
  if (snapshot.chains.size() != chains.size() || snapshot.sets.size() != kNftSets.size() ||
      snapshot.objects.size() != 1) {
    return false;
  }
  for (const NftChain& chain : chains) {
    const auto it = snapshot.chains.find(chain.name);
    if (it == snapshot.chains.end() || !SameHook(it->second, chain)) return false;
    if (it->second.hooked && it->second.policy != NF_ACCEPT) return false;
    if (!std::equal(chain.rules.begin(), chain.rules.end(), it->second.rules.begin(),
                    it->second.rules.end(),
                    [](const base::NftnlRule& rule, const std::string& text) {
                      return RuleText(*rule) == text;
                    })) {
      return false;
    }
  }
  for (const NftSetSpec& spec : kNftSets) {
    const auto it = snapshot.sets.find(spec.name);
    if (it == snapshot.sets.end() || !SameShape(it->second, spec, settings.set_size)) return false;
  }
  const auto counter = snapshot.objects.find(kExemptedCounter);
  return counter != snapshot.objects.end() && counter->second.type == NFT_OBJECT_COUNTER;
}

absl::Status RemoveTable(base::NetlinkSocket& socket) {
  const absl::StatusOr<NftSnapshot> now = ReadNftSnapshot(socket);
  if (!now.ok()) return now.status();
  if (!now->present) return absl::OkStatus();
  if (now->owner != 0 && now->owner != socket.port_id()) return RefusedByOwner(now->owner);
  NftBatch batch(socket);
  const base::NftnlTable table(nftnl_table_alloc());
  nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, Name(kNftTableName).c_str());
  batch.Add(NFT_MSG_DELTABLE, 0, absl::StrCat("remove nft table inet ", kNftTableName),
            nftnl_table_nlmsg_build_payload, table.get());
  const absl::StatusOr<NftCommit> commit = batch.Commit();
  if (!commit.ok()) return commit.status();
  if (commit->error == ENOENT) return absl::OkStatus();  // another process removed it first
  return commit->ToStatus();
}

}  // namespace npg::dataplane
