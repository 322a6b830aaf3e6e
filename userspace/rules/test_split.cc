// SPDX-License-Identifier: Apache-2.0
#include "rules/test_split.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rules/packet_facts.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_store.h"

namespace npg::rules {
namespace {

constexpr Value kLastPort = 0xffff;

Split SplitAll(Answer answer) {
  Split split;
  split.answer = answer;
  return split;
}

Split SplitAll(bool holds) { return SplitAll(holds ? Answer::kYes : Answer::kNo); }

// Sets the answer if all ports have the same one.
Split Mixed(Split split, const PortSet& ports) {
  split.answer = Answer::kMixed;
  if (split.yes.empty() && split.sometimes.empty() && split.unknown.empty()) {
    split.answer = Answer::kNo;
  } else if (split.yes == ports) {
    split.answer = Answer::kYes;
  } else if (split.sometimes == ports) {
    split.answer = Answer::kSometimes;
  } else if (split.unknown == ports) {
    split.answer = Answer::kUnknown;
  }
  return split;
}

PortSet::Range PortRange(const Interval& interval) {
  return {static_cast<uint16_t>(std::min(interval.first, kLastPort)),
          static_cast<uint16_t>(std::min(interval.last, kLastPort))};
}

bool InIntervals(absl::Span<const Interval> intervals, Value value) {
  return std::any_of(intervals.begin(), intervals.end(), [value](const Interval& interval) {
    return interval.first <= value && value <= interval.last;
  });
}

bool IsWholePort(const Operand& operand) {
  return (operand.mask & kLastPort) == kLastPort && (operand.flip & kLastPort) == 0;
}

// The ports whose value, after mask and flip, is in the intervals.
PortSet PortsIn(const Operand& operand, absl::Span<const Interval> intervals,
                const PortSet& ports) {
  PortSet in;
  if (IsWholePort(operand)) {
    for (const Interval& interval : intervals) {
      if (interval.first <= kLastPort) in.Add(PortRange(interval));
    }
    return in & ports;
  }
  for (const PortSet::Range& range : ports.ranges()) {
    for (uint32_t port = range.first; port <= range.last; ++port) {
      const auto one = static_cast<uint16_t>(port);
      if (InIntervals(intervals, Adjust(operand, port))) in.Add({one, one});
    }
  }
  return in;
}

// The kernel picks the source port.
Answer SourcePortIn(const Operand& operand, absl::Span<const Interval> intervals) {
  if ((operand.mask & kLastPort) == 0) {
    return InIntervals(intervals, Adjust(operand, 0)) ? Answer::kYes : Answer::kNo;
  }
  if (!IsWholePort(operand)) return intervals.empty() ? Answer::kNo : Answer::kSometimes;
  PortSet in;
  for (const Interval& interval : intervals) {
    if (interval.first <= kLastPort) in.Add(PortRange(interval));
  }
  if (in.empty()) return Answer::kNo;
  return in == PortSet::All() ? Answer::kYes : Answer::kSometimes;
}

void Negate(Split& split, const PortSet& ports) {
  switch (split.answer) {
    case Answer::kNo:
      split.answer = Answer::kYes;
      break;
    case Answer::kYes:
      split.answer = Answer::kNo;
      break;
    case Answer::kMixed: {
      PortSet rest = ports;
      rest.Remove(split.yes);
      rest.Remove(split.sometimes);
      rest.Remove(split.unknown);
      split.yes = std::move(rest);
      split = Mixed(std::move(split), ports);
      break;
    }
    case Answer::kSometimes:
    case Answer::kUnknown:
      break;
  }
}

Split SplitByDestinationPort(const Condition& condition, const PortSet& ports) {
  const Operand& operand = condition.operands.front();
  Split split;
  split.by_port = true;
  split.yes = PortsIn(operand, condition.intervals, ports);
  if (condition.or_source_port) {
    const Answer source = SourcePortIn(operand, condition.intervals);
    PortSet others = ports;
    others.Remove(split.yes);
    if (source == Answer::kYes) split.yes = ports;
    if (source == Answer::kSometimes) split.sometimes = std::move(others);
  }
  return Mixed(std::move(split), ports);
}

}  // namespace

Split SplitByPort(uint16_t first, uint16_t last, bool negated, const PortSet& ports) {
  Split split;
  split.by_port = true;
  if (negated) {
    split.yes = ports;
    split.yes.Remove({first, last});
  } else {
    split.yes = ports & PortSet::Of(first, last);
  }
  return Mixed(std::move(split), ports);
}

Split SplitByIntervals(const Condition& condition, const Packet& packet, const PortSet& ports) {
  if (condition.operands.size() != 1) {
    Split split = SplitAll(Answer::kUnknown);
    split.what = "a test of several fields";
    return split;
  }
  const Operand& operand = condition.operands.front();
  const FieldValue field = ValueOf(operand, packet.facts, packet.point, packet.state);
  Split split;
  switch (field.kind) {
    case FieldValue::Kind::kAbsent:
      return SplitAll(false);
    case FieldValue::Kind::kConstant:
      return SplitAll(InIntervals(condition.intervals, Adjust(operand, field.value)) !=
                      condition.negated);
    case FieldValue::Kind::kChance:
      return SplitAll(Answer::kSometimes);
    case FieldValue::Kind::kUnknown:
      split.answer = Answer::kUnknown;
      split.what = std::string(field.unknown);
      return split;
    case FieldValue::Kind::kSourcePort:
      split.answer = SourcePortIn(operand, condition.intervals);
      break;
    case FieldValue::Kind::kDestinationPort:
      split = SplitByDestinationPort(condition, ports);
      break;
  }
  if (condition.negated) Negate(split, ports);
  return split;
}

ElementMatcher::ElementMatcher(const Condition& condition, const StoredSet& set,
                               const Packet& packet)
    : set_(set) {
  if (!set.unknown.empty()) {
    general_ = Answer::kUnknown;
    what_ = set.unknown;
    return;
  }
  if (!set.parts.empty()) {
    AddIpSetParts(condition, set, packet);
    return;
  }
  for (const Operand& operand : condition.operands) {
    AddPart(operand, operand.offset, operand.size, packet);
  }
}

void ElementMatcher::AddPart(const Operand& operand, size_t offset, size_t size,
                             const Packet& packet) {
  if (general_ != Answer::kMixed) return;
  Part part{ValueOf(operand, packet.facts, packet.point, packet.state), &operand, offset, size, ""};
  switch (part.field.kind) {
    case FieldValue::Kind::kAbsent:
      general_ = Answer::kNo;
      return;
    case FieldValue::Kind::kUnknown:
      unknown_ = true;
      if (what_.empty()) what_ = std::string(part.field.unknown);
      return;
    case FieldValue::Kind::kChance:
      chance_ = true;
      return;
    case FieldValue::Kind::kDestinationPort:
      by_port_ = true;
      break;
    default:
      break;
  }
  if (set_.elements.empty()) return;
  if (size == 0 || size > sizeof(Value) || offset + size > set_.key_size) {
    general_ = Answer::kUnknown;
    what_ = "a set with another key";
    return;
  }
  if (part.field.kind == FieldValue::Kind::kConstant) {
    Value value = Adjust(operand, part.field.value);
    part.bytes.resize(size);
    for (size_t i = 0; i < size; ++i, value >>= 8) {
      part.bytes[operand.host_order ? i : size - 1 - i] = static_cast<char>(value & 0xff);
    }
  }
  parts_.push_back(std::move(part));
}

// net/netfilter/ipset/ip_set_core.c: a rule with fewer dimensions than the set never matches.
void ElementMatcher::AddIpSetParts(const Condition& condition, const StoredSet& set,
                                   const Packet& packet) {
  if (condition.operands.size() < set.parts.size()) {
    general_ = Answer::kNo;
    return;
  }
  size_t addresses = 0;
  size_t others = 0;
  for (const IpSetPart part : set.parts) {
    addresses += part == IpSetPart::kAddress ? 1 : 0;
    if (part == IpSetPart::kProtocolAndPort) others += 8;
    if (part == IpSetPart::kPort) others += 4;
  }
  const size_t address_size =
      addresses == 0 || set.key_size < others ? 0 : (set.key_size - others) / addresses;
  // Parts refer to operands: no reallocation after the first.
  ip_set_operands_.reserve(2 * set.parts.size());
  size_t offset = 0;
  for (size_t i = 0; i < set.parts.size(); ++i) {
    const bool destination = condition.operands[i].field == Field::kDestination;
    const auto add = [&](Field field, size_t size, size_t width) {
      Operand& operand = ip_set_operands_.emplace_back();
      operand.field = field;
      operand.size = static_cast<uint8_t>(size);
      AddPart(operand, offset, size, packet);
      offset += width;
    };
    if (set.parts[i] == IpSetPart::kAddress) {
      const size_t size = address_size == 0 ? packet.facts.address_size() : address_size;
      add(destination ? Field::kDestination : Field::kSource, size, size);
      continue;
    }
    if (set.parts[i] == IpSetPart::kProtocolAndPort) add(Field::kProtocol, 1, 4);
    add(destination ? Field::kDestinationPort : Field::kSourcePort, 2, 4);
  }
}

bool ElementMatcher::MatchesConstant(const Part& part, absl::string_view first,
                                     absl::string_view last) {
  if (first == last) return first == part.bytes;
  if (!part.operand->host_order) return first <= part.bytes && part.bytes <= last;
  const auto less = [](absl::string_view a, absl::string_view b) {
    return std::lexicographical_compare(
        a.rbegin(), a.rend(), b.rbegin(), b.rend(),
        [](char x, char y) { return static_cast<uint8_t>(x) < static_cast<uint8_t>(y); });
  };
  return !less(part.bytes, first) && !less(last, part.bytes);
}

Answer ElementMatcher::Match(const StoredElement& element, const PortSet& ports,
                             PortSet& matched) const {
  const absl::string_view first_key = set_.First(element);
  const absl::string_view last_key = set_.Last(element);
  bool sometimes = chance_;
  bool narrowed = false;
  for (const Part& part : parts_) {
    const absl::string_view first = first_key.substr(part.offset, part.size);
    const absl::string_view last = last_key.substr(part.offset, part.size);
    if (part.field.kind == FieldValue::Kind::kConstant) {
      if (!MatchesConstant(part, first, last)) return Answer::kNo;
      continue;
    }
    const Interval interval{NumberOf(first), NumberOf(last)};
    if (part.field.kind == FieldValue::Kind::kSourcePort) {
      const Answer source = SourcePortIn(*part.operand, {&interval, 1});
      if (source == Answer::kNo) return Answer::kNo;
      sometimes = sometimes || source == Answer::kSometimes;
      continue;
    }
    matched = PortsIn(*part.operand, {&interval, 1}, narrowed ? matched : ports);
    narrowed = true;
    if (matched.empty()) return Answer::kNo;
  }
  if (!narrowed) matched = ports;
  if (unknown_) return Answer::kUnknown;
  return sometimes ? Answer::kSometimes : Answer::kYes;
}

Split SplitBySet(const Condition& condition, const StoredSet& set, const Packet& packet,
                 const PortSet& ports) {
  const ElementMatcher matcher(condition, set, packet);
  if (matcher.general() == Answer::kNo) return SplitAll(false);
  Split split;
  split.what = matcher.what();
  split.by_port = matcher.by_port();
  if (matcher.general() == Answer::kUnknown) {
    split.answer = Answer::kUnknown;
    return split;
  }
  if (set.chance) return SplitAll(Answer::kSometimes);
  // The lookup succeeds in any case, with this element or another.
  if (!set.elements.empty() && set.elements.back().catchall) return SplitAll(!condition.negated);
  for (const StoredElement& element : set.elements) {
    PortSet matched;
    switch (matcher.Match(element, ports, matched)) {
      case Answer::kYes:
        split.yes.Add(matched);
        break;
      case Answer::kSometimes:
        split.sometimes.Add(matched);
        break;
      case Answer::kUnknown:
        split.unknown.Add(matched);
        break;
      default:
        break;
    }
  }
  split.sometimes.Remove(split.yes);
  split.unknown.Remove(split.yes);
  split.unknown.Remove(split.sometimes);
  split = Mixed(std::move(split), ports);
  if (condition.negated) Negate(split, ports);
  return split;
}

}  // namespace npg::rules
