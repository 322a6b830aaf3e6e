// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "core/mark.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/owner_name.h"
#include "rules/packet_facts.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"
#include "rules/walk.h"

// What rules do to packets: a part of Walk.

namespace npg::rules {
namespace {

// include/net/netfilter/nf_tables.h: NFT_JUMP_STACK_SIZE.
constexpr int kMaxJumps = 16;
// net/ipv4/netfilter/ip_tables.c has a stack as deep as the table needs; this one has an end.
constexpr int kMaxLegacyJumps = 512;
// A refusal of more ports than this is about more than the ports of a Service.
constexpr size_t kMaxRefused = 16;

std::array<uint8_t, 16> AddressOf(Value value, bool v4) {
  std::array<uint8_t, 16> address{};
  for (size_t i = address.size(); i-- > 0; value >>= 8) {
    address.at(i) = static_cast<uint8_t>(value & 0xff);
  }
  if (v4) {
    address[10] = 0xff;
    address[11] = 0xff;
  }
  return address;
}

bool IsOne(const std::optional<Interval>& interval) {
  return interval && interval->first == interval->last;
}

std::string IntervalText(const Interval& ports) {
  const auto first = static_cast<uint64_t>(ports.first);
  const auto last = static_cast<uint64_t>(ports.last);
  return first == last ? absl::StrCat(first) : absl::StrCat(first, "-", last);
}

}  // namespace

std::string DestinationText(const Nat& nat, const PacketFacts& facts) {
  const std::string port = nat.port ? IntervalText(*nat.port) : "";
  if (nat.redirect || !nat.address) {
    return absl::StrCat(port.empty() ? "the same port" : absl::StrCat("port ", port),
                        " of this node");
  }
  const bool v4 = facts.address_size() == 4;
  std::string text = core::AddressText(AddressOf(nat.address->first, v4));
  if (!IsOne(nat.address)) {
    absl::StrAppend(&text, "-", core::AddressText(AddressOf(nat.address->last, v4)));
  }
  if (!port.empty()) absl::StrAppend(&text, ":", port);
  return text;
}

void Walk::RunEffects(const At& at, uint32_t step, Flow part, FlowList& out) {
  for (; step < at.end; ++step) {
    const StoredStep effect = store_.StepsOf(at.frame.chain)[step];
    switch (effect.kind) {
      case StepKind::kConstant:
      case StepKind::kDestination:
      case StepKind::kPort:
      case StepKind::kTest:
        RunSteps(at, step, part, out);
        return Leave(at, std::move(part), out);
      case StepKind::kVerdict:
        return Obey(at, static_cast<VerdictKind>(effect.flag), effect.number, std::move(part), out);
      case StepKind::kVerdictMap:
      case StepKind::kDataMap:
        return RunMap(at, step, std::move(part), out);
      case StepKind::kNat:
      case StepKind::kNat4:
        return RunNat(at, effect, std::move(part));
      case StepKind::kMark:
        ChangeMark(at, store_.mark_change(effect.number), part);
        break;
      case StepKind::kConnectionMark:
        part.state.connection_mark_known = false;
        break;
      case StepKind::kUntrack:
        // net/netfilter/nft_ct.c, net/netfilter/xt_CT.c: no effect on what conntrack has.
        if (point_.conntrack) break;
        part.state.tracked = false;
        Record(at, part, "NOTRACK");
        break;
    }
  }
  Leave(at, std::move(part), out);
}

void Walk::Obey(const At& at, VerdictKind verdict, uint32_t target, Flow part, FlowList& out) {
  if (part.ports.empty()) return;
  switch (verdict) {
    case VerdictKind::kAccept:
      Record(at, part, "ACCEPT");
      if (at.way->named) Keep(at, part);
      return Leave(at, std::move(part), accepted_);
    case VerdictKind::kDrop:
    case VerdictKind::kReject:
      Record(at, part, verdict == VerdictKind::kDrop ? "DROP" : "REJECT");
      return Refuse(at, part);
    case VerdictKind::kReturn:
      return Leave(at, std::move(part), at.frame.returned);
    case VerdictKind::kJump:
    case VerdictKind::kGoto:
      return Jump(at, verdict == VerdictKind::kJump, target, std::move(part), out);
    case VerdictKind::kContinue:
    case VerdictKind::kBreak:
      return Leave(at, std::move(part), out);
    case VerdictKind::kDivert:
      Record(at, part, std::string(store_.text(target)));
      return Divert(at, store_.text(target), std::move(part), out);
  }
}

void Walk::Jump(const At& at, bool returns, RuleSet::ChainId target, Flow part, FlowList& out) {
  const bool legacy = store_.TableOf(target).engine == Engine::kLegacy;
  if (at.frame.depth >= (legacy ? kMaxLegacyJumps : kMaxJumps)) {
    return Divert(at, "more jumps than the kernel permits", std::move(part), out);
  }
  Way way = *at.way;
  way.target = target;
  size_t recorded = 0;
  if (settings_.trace != nullptr) {
    recorded = settings_.trace->size() + 1;
    Record(at, part, absl::StrCat(returns ? "jump " : "goto ", store_.PlainNameOf(target)));
  }
  FlowList inside;
  inside.push_back(std::move(part));
  RunChain(target, inside, &way, at.frame.depth + 1);
  if (settings_.trace != nullptr && settings_.trace->size() == recorded) {
    settings_.trace->pop_back();  // nothing matched there
  }
  for (Flow& flow : inside) Leave(at, std::move(flow), returns ? out : at.frame.returned);
}

// What happens to the ports is not known; they go on as if nothing had.
void Walk::Divert(const At& at, absl::string_view what, Flow part, FlowList& out) {
  result_.diverted[ReasonOf(at, what)].Add(part.ports);
  Leave(at, std::move(part), out);
}

void Walk::ChangeMark(const At& at, const MarkChange& change, Flow& part) {
  // net/netfilter/xt_connmark.c: without a connection there is nothing to copy.
  if (change.from_connection && (!part.state.tracked || !point_.conntrack)) return;
  const bool known = change.known && (!change.from_connection || part.state.connection_mark_known);
  if (known) {
    part.state.mark = (part.state.mark & change.keep) ^ change.flip;
    part.state.unknown_mark &= change.keep;
    part.state.mark &= ~part.state.unknown_mark;
  } else {
    part.state.mark = 0;
    part.state.unknown_mark = UINT32_MAX;
  }
  if (settings_.trace == nullptr) return;
  Record(at, part,
         known ? absl::StrCat("mark ", core::HexText(part.state.mark)) : "mark not known");
}

void Walk::Refuse(const At& at, const Flow& part) {
  NoteRefusal(at.frame.chain, HandleOf(at), part);
  if (settings_.tracked) AddHits(at.way, part, result_.refusals, kMaxRefused);
}

void Walk::NoteRefusal(RuleSet::ChainId chain, uint64_t rule, const Flow& part) {
  if (part.state.sure) {
    result_.refused.Add(part.ports);
    return;
  }
  for (const PortSet::Range& range : part.ports.ranges()) {
    for (uint32_t port = range.first; port <= range.last; ++port) {
      const auto one = static_cast<uint16_t>(port);
      result_.maybe_refused[{ReasonOfPort(part, one), chain, rule}].Add({one, one});
    }
  }
}

// nullopt: the destination is in data that are not known.
std::optional<Nat> Walk::WithData(const At& at, Nat nat) const {
  const auto read = [&](int8_t offset, size_t size, std::optional<Interval>& field) {
    if (offset < 0) return true;
    const absl::string_view data = at.has_data ? store_.text(at.data) : "";
    if (data.size() < static_cast<size_t>(offset) + size) return false;
    const Value value = NumberOf(data.substr(static_cast<size_t>(offset), size));
    field = Interval{value, value};
    return true;
  };
  if (!read(nat.address_offset, facts_.address_size(), nat.address)) return std::nullopt;
  if (!read(nat.port_offset, sizeof(uint16_t), nat.port)) return std::nullopt;
  return nat;
}

std::optional<uint16_t> Walk::OwnDestination(const Nat& nat, const Flow& part) const {
  const bool v4 = facts_.address_size() == 4;
  // net/netfilter/nf_nat_redirect.c: at local output, to 127.0.0.1 or ::1.
  if (nat.redirect) return store_.FindDestination(AddressOf(v4 ? INADDR_LOOPBACK : 1, v4));
  if (!nat.address) return part.state.destination;
  if (!IsOne(nat.address)) return std::nullopt;
  const std::array<uint8_t, 16> address = AddressOf(nat.address->first, v4);
  const bool own = core::IsLoopback(address) || options_.node_addresses.contains(address) ||
                   address == store_.connects()[settings_.connect].address;
  if (!own) return std::nullopt;
  return store_.FindDestination(address).value_or(part.state.destination);
}

void Walk::RunNat(const At& at, const StoredStep& step, Flow part) {
  const std::optional<Nat> nat = WithData(at, store_.NatOf(step));
  if (settings_.trace != nullptr) {
    const std::string to = nat ? DestinationText(*nat, facts_) : "an address that is not known";
    Record(at, part, absl::StrCat(nat && nat->redirect ? "REDIRECT to " : "DNAT to ", to));
    if (result_.destination.empty()) result_.destination = to;
  }
  if (const auto own = nat ? OwnDestination(*nat, part) : std::nullopt) {
    Flow same = part;
    same.state.destination = *own;
    if (IsOne(nat->port)) {
      same.ports = part.ports & PortSet::Of(static_cast<uint16_t>(nat->port->first));
    } else if (nat->port) {
      same.ports.Clear();
    }
    part.ports.Remove(same.ports);
    same.state.natted = true;
    if (at.way->named) Keep(at, same);
    Leave(at, std::move(same), accepted_);
  }
  if (!part.ports.empty()) Take(at, nat.value_or(Nat{}), part);
}

void Walk::Take(const At& at, const Nat& nat, const Flow& part) {
  const size_t width = settings_.trace == nullptr ? part.ports.size() : at.way->width;
  if (!part.state.persisted && width > options_.max_ports_of_rule) {
    if (part.state.sure) {
      result_.broad.push_back({at.frame.chain, HandleOf(at), nat.redirect, part.ports});
      return;
    }
  }
  AddHits(at.way, part, result_.nats, SIZE_MAX);
}

void Walk::AddHits(const Way* way, const Flow& part, std::vector<WalkResult::Hit>& hits,
                   size_t max_width) {
  const bool counts = max_width == SIZE_MAX || (way->named && way->width <= max_width);
  const bool keeps = part.state.persisted;
  if (!counts && !keeps) return;
  const Owners::Id owner = counts ? owners_.OwnerOf(way) : 0;
  for (const PortSet::Range& range : part.ports.ranges()) {
    for (uint32_t port = range.first; port <= range.last; ++port) {
      const auto one = static_cast<uint16_t>(port);
      const uint32_t reason = ReasonOfPort(part, one);
      const auto named = keeps ? named_.find(one) : named_.end();
      if (named != named_.end() && named->second.width <= max_width) {
        hits.push_back({one, named->second.owner, reason});
      } else if (counts) {
        hits.push_back({one, owner, reason});
      }
    }
  }
}

// The flow goes on outside of the rules that named its ports, among others. What it takes with it
// is a mark, by which later rules may judge it: the owners of its ports are kept.
void Walk::Keep(const At& at, Flow& part) {
  if ((part.state.mark | part.state.unknown_mark) == 0) return;
  if (at.way->width > options_.max_ports_of_rule) return;
  const Owners::Id owner = owners_.OwnerOf(at.way);
  for (const PortSet::Range& range : part.ports.ranges()) {
    for (uint32_t port = range.first; port <= range.last; ++port) {
      named_.try_emplace(static_cast<uint16_t>(port), Named{owner, at.way->width});
    }
  }
  part.state.persisted = true;
}

void Walk::Leave(const At& at, Flow part, FlowList& to) {
  const bool named_outside = at.frame.way != nullptr && at.frame.way->named;
  if (at.way->named && !named_outside &&
      (part.state.mark != at.before->mark || part.state.unknown_mark != at.before->unknown_mark)) {
    Keep(at, part);
  }
  MergeFlow(to, std::move(part));
}

uint32_t Walk::ReasonOf(const At& at, absl::string_view what) {
  return reasons_.Number({at.frame.chain, HandleOf(at), std::string(what)});
}

uint64_t Walk::HandleOf(const At& at) const {
  return store_.RulesOf(at.frame.chain)[at.rule].handle;
}

void Walk::Record(const At& at, const Flow& flow, std::string verdict) {
  if (settings_.trace == nullptr || flow.ports.empty()) return;
  const TextId comment = at.way->element_comment != 0 ? at.way->element_comment : at.way->comment;
  settings_.trace->push_back({point_.input, store_.NameOf(at.frame.chain), HandleOf(at),
                              std::string(store_.text(comment)), std::move(verdict),
                              flow.state.sometimes, NamesPort(at, flow)});
}

bool Walk::NamesPort(const At& at, const Flow& flow) const {
  if (at.way->named && at.way->width <= kMaxRefused) return true;
  if (!flow.state.persisted) return false;
  const auto named = named_.find(flow.ports.ranges().front().first);
  return named != named_.end() && named->second.width <= kMaxRefused;
}

}  // namespace npg::rules
