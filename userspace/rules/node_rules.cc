// SPDX-License-Identifier: Apache-2.0
#include "rules/node_rules.h"

#include <linux/netlink.h>
#include <netinet/in.h>
// After <netinet/in.h>, whose declarations the kernel's headers leave out then.
#include <linux/netfilter.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "core/listener.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/ip_set_reader.h"
#include "rules/legacy_reader.h"
#include "rules/nft_reader.h"
#include "rules/rule.h"
#include "rules/rule_changes.h"
#include "rules/rule_set.h"

namespace npg::rules {
namespace {

LegacyReader::Options LegacyOptions(const NodeRules::Options& options) {
  return {.command_folders = options.command_folders,
          .proc_net = options.proc_net,
          .command_timeout = options.command_timeout,
          .stop_fd = options.stop_fd};
}

// Chains of kube-proxy in the table nat, in every one of its modes that uses iptables
// (Kubernetes: pkg/proxy/iptables/proxier.go, pkg/proxy/ipvs/proxier.go).
constexpr std::array<absl::string_view, 2> kKubeProxyChains = {"KUBE-SERVICES", "KUBE-NODEPORTS"};
// Of its nftables mode (pkg/proxy/nftables/proxier.go).
constexpr absl::string_view kKubeProxyNftTable = "kube-proxy";

constexpr size_t kMaxFailures = 10;

RuleChanges NotOfNfTables(const RuleChanges& changes) {
  RuleChanges rest;
  rest.legacy = changes.legacy;
  rest.ip_sets = changes.ip_sets;
  return rest;
}

}  // namespace

NodeRules::NodeRules(Options options, std::vector<Connect> connects, EvaluateOptions evaluate)
    : options_(std::move(options)),
      evaluate_(std::move(evaluate)),
      rules_(std::move(connects), evaluate_.node_addresses),
      legacy_{LegacyReader(NFPROTO_IPV4, LegacyOptions(options_)),
              LegacyReader(NFPROTO_IPV6, LegacyOptions(options_))} {
  again_.NoteAll();
}

void NodeRules::NoteFailure(const absl::Status& status) {
  generation_.reset();
  const absl::Status named =
      absl::StrContains(status.message(), "CAP_NET_ADMIN") ? status : base::NameCapability(status);
  // The same reason may concern thousands of chains.
  if (std::find(failed_.begin(), failed_.end(), named) == failed_.end() &&
      failed_.size() < kMaxFailures) {
    failed_.push_back(named);
  }
}

absl::Status NodeRules::Reader::ReadChain(const ChainName& chain, RuleSet& rules) {
  rules.BeginChain(chain);  // without rules, if it does not exist or cannot be read
  // All chains of a legacy table are known.
  if (chain.table.engine == Engine::kLegacy || !node_.nft_) return absl::OkStatus();
  node_.tables_.insert(chain.table);
  if (const absl::Status status = node_.nft_->ReadChain(chain, rules); !status.ok()) {
    node_.NoteFailure(status);
    node_.again_.chains.insert(chain);
    rules.BeginChain(chain);
  }
  return absl::OkStatus();
}

absl::Status NodeRules::Reader::ReadSet(const TableId& table, const SetName& name, RuleSet& rules) {
  absl::Status status;
  if (name.ip_set) {
    status = node_.ReadIpSetInto(table, name, rules);
  } else if (node_.nft_) {
    node_.tables_.insert(table);
    status = node_.nft_->ReadSet(table, name, rules);
  } else {
    rules.PutSet(table, name, Set());
  }
  if (!status.ok()) {
    node_.NoteFailure(status);
    Set unreadable;
    unreadable.unknown = "a set that cannot be read";
    rules.PutSet(table, name, std::move(unreadable));
    if (name.ip_set) {
      node_.again_.ip_sets = true;
    } else {
      node_.again_.sets.emplace(table, name.name);
    }
  }
  return absl::OkStatus();
}

absl::Status NodeRules::ReadIpSetInto(const TableId& table, const SetName& name, RuleSet& rules) {
  ip_sets_ = true;
  // Legacy rules may use ipsets where the kernel has no nf_tables.
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  absl::StatusOr<Set> set = ReadIpSet(*socket, name.name);
  if (!set.ok()) return set.status();
  rules.PutSet(table, name, *std::move(set));
  return absl::OkStatus();
}

void NodeRules::OpenNft() {
  if (nft_) return;
  absl::StatusOr<NftReader> reader = NftReader::Open(options_.own_table);
  // A kernel may load nf_tables later.
  if (absl::IsUnimplemented(reader.status())) return;
  if (reader.ok()) {
    nft_.emplace(*std::move(reader));
  } else {
    NoteFailure(reader.status());
  }
}

std::optional<uint32_t> NodeRules::Generation() {
  if (!nft_) return 0;
  const absl::StatusOr<uint32_t> generation = nft_->Generation();
  return generation.ok() ? std::optional(*generation) : std::nullopt;
}

bool NodeRules::ForgetChanged(const RuleChanges& changes) {
  bool known = false;
  const auto forget_table = [&](const TableId& table) {
    known = true;
    rules_.ForgetTable(table);
  };
  if (changes.all) {
    for (const TableId& table : tables_) forget_table(table);
    tables_.clear();
  }
  for (const TableId& table : changes.tables) {
    if (tables_.erase(table) > 0) forget_table(table);
  }
  for (const auto* chains : {&changes.chains, &changes.removed}) {
    for (const ChainName& chain : *chains) {
      if (!rules_.HasChain(chain)) continue;
      known = true;
      rules_.ForgetChain(chain);
    }
  }
  for (const auto& [table, name] : changes.sets) {
    const SetName set{name, /*ip_set=*/false};
    if (!rules_.HasSet(table, set)) continue;
    known = true;
    rules_.ForgetSet(table, set);
  }
  if (changes.ip_sets && ip_sets_) {
    known = true;
    rules_.ForgetIpSets();
    ip_sets_ = false;
  }
  for (const RuleEdit& edit : changes.edits) known |= Apply(edit);
  return known;
}

bool NodeRules::Apply(const RuleEdit& edit) {
  if (!rules_.HasChain(edit.chain)) return false;  // not reached, or to be read again
  // The chain may have been read after this change, whose notification came later.
  if (rules_.HasRule(edit.chain, edit.rule.handle) != edit.removed) return false;
  if (edit.removed) {
    rules_.Remove(edit.chain, edit.rule.handle);
  } else if (edit.at_end) {
    rules_.Append(edit.chain, edit.rule);
  } else if (!rules_.Insert(edit.chain, edit.after, edit.rule)) {
    rules_.ForgetChain(edit.chain);
  }
  return true;
}

bool NodeRules::ReadBaseChains(const RuleChanges& changes) {
  const std::vector<BaseChain> before = rules_.base_chains();
  const auto removed = [&changes](const BaseChain& base) {
    return changes.removed.contains(base.chain) || changes.tables.contains(base.chain.table);
  };
  if (!changes.all && !changes.base_chains && std::none_of(before.begin(), before.end(), removed)) {
    return false;
  }
  OpenNft();
  if (!nft_) {
    again_.base_chains = true;
    return false;
  }
  if (const absl::Status status = nft_->ReadBaseChains(rules_); !status.ok()) {
    NoteFailure(status);
    again_.base_chains = true;
    return false;
  }
  return rules_.base_chains() != before;
}

bool NodeRules::ReadLegacy() {
  bool changed = false;
  std::vector<BaseChain> bases;
  for (LegacyReader& legacy : legacy_) {
    changed |= legacy.Read(rules_);
    bases.insert(bases.end(), legacy.base_chains().begin(), legacy.base_chains().end());
  }
  if (changed) rules_.SetBaseChains(Engine::kLegacy, std::move(bases));
  return changed;
}

bool NodeRules::HasKubeProxy() const {
  for (const BaseChain& base : rules_.base_chains()) {
    const TableId& table = base.chain.table;
    if (table.engine == Engine::kNfTables && table.name == kKubeProxyNftTable) return true;
    if (table.name != "nat") continue;
    for (const absl::string_view name : kKubeProxyChains) {
      if (rules_.HasChain({table, std::string(name)})) return true;
    }
  }
  return false;
}

absl::StatusOr<NodeRules::Reading> NodeRules::EvaluateOnce() {
  Reader reader(*this);
  absl::StatusOr<Evaluation> evaluation = Evaluate(rules_, reader, evaluate_);
  if (!evaluation.ok()) return evaluation.status();
  Reading reading;
  reading.evaluation = *std::move(evaluation);
  reading.kube_proxy = HasKubeProxy();
  reading.rules = rules_.rules();
  return reading;
}

absl::StatusOr<NodeRules::Reading> NodeRules::Read(const RuleChanges& changes, int tries) {
  RuleChanges next = again_;
  next.Add(changes);
  if (next.legacy && ReadLegacy()) last_.reset();
  bool torn = false;
  do {
    again_ = RuleChanges();
    failed_.clear();
    OpenNft();
    const std::optional<uint32_t> before = Generation();
    const bool whole = next.all;
    if (whole && generation_ && before == generation_) next = NotOfNfTables(next);
    if (next.OfNfTables()) generation_.reset();
    const bool forgot = ForgetChanged(next);
    if (forgot) rules_.Compact();  // before the rules come again
    if (ReadBaseChains(next) || forgot) last_.reset();
    torn = false;
    if (!last_) {
      absl::StatusOr<Reading> reading = EvaluateOnce();
      if (!reading.ok()) {
        again_.Add(RuleChanges::Everything());
        return reading.status();
      }
      last_ = *std::move(reading);
      torn = !before || Generation() != before;
    }
    if (whole && !torn && failed_.empty()) generation_ = before;
    next = RuleChanges();
    next.ip_sets = again_.ip_sets;
    next.NoteAll();
  } while (torn && --tries > 0);

  Reading reading = *last_;
  reading.torn = torn;
  reading.failed = failed_;
  for (const LegacyReader& legacy : legacy_) {
    if (!legacy.status().ok()) reading.failed.push_back(legacy.status());
    reading.unread |= legacy.unread();
    reading.skipped.insert(reading.skipped.end(), legacy.skipped().begin(), legacy.skipped().end());
  }
  return reading;
}

absl::StatusOr<Trace> NodeRules::TraceOne(const Connect& connect, uint16_t port) {
  Reader reader(*this);
  return TraceConnect(rules_, reader, connect, port, evaluate_);
}

}  // namespace npg::rules
