// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_TEST_SPLIT_H_
#define NODEPORT_GUARD_RULES_TEST_SPLIT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "rules/packet_facts.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_store.h"

namespace npg::rules {

enum class Answer : uint8_t {
  kNo,
  kYes,
  kSometimes,  // for some of many like packets
  kUnknown,
  kMixed,  // not the same for all ports
};

// For which ports a condition holds.
struct Split {
  Answer answer = Answer::kNo;
  // kMixed: parts of the ports that were asked about, which do not overlap.
  PortSet yes;
  PortSet sometimes;
  PortSet unknown;
  // Whether the destination port was asked about. If so, the ports of `yes` were named.
  bool by_port = false;
  std::string what;  // cannot be evaluated, if `answer` is kUnknown or `unknown` is not empty
};

// What a condition is asked about.
struct Packet {
  PacketFacts facts;
  HookPoint point;
  const FlowState& state;
};

// How the test `first` to `last` of the destination port splits `ports`.
Split SplitByPort(uint16_t first, uint16_t last, bool negated, const PortSet& ports);

// The same for any test without a set.
Split SplitByIntervals(const Condition& condition, const Packet& packet, const PortSet& ports);

// Compares a packet with the elements of a set or map.
class ElementMatcher {
 public:
  // Both must outlive the object.
  ElementMatcher(const Condition& condition, const StoredSet& set, const Packet& packet);

  // The answer for all elements and ports, if there is one: kNo, kUnknown. Else kMixed.
  Answer general() const { return general_; }
  const std::string& what() const { return what_; }
  bool by_port() const { return by_port_; }
  // An operand is a matter of chance.
  bool by_chance() const { return chance_; }

  // Which of `ports` the element matches, and how: kNo (none), kYes, kSometimes, kUnknown.
  Answer Match(const StoredElement& element, const PortSet& ports, PortSet& matched) const;

 private:
  struct Part {
    FieldValue field;
    const Operand* operand = nullptr;
    size_t offset = 0;
    size_t size = 0;
    std::string bytes;  // kConstant: as in a key
  };

  void AddPart(const Operand& operand, size_t offset, size_t size, const Packet& packet);
  void AddIpSetParts(const Condition& condition, const StoredSet& set, const Packet& packet);
  static bool MatchesConstant(const Part& part, absl::string_view first, absl::string_view last);

  const StoredSet& set_;
  absl::InlinedVector<Operand, 4> ip_set_operands_;
  absl::InlinedVector<Part, 4> parts_;
  Answer general_ = Answer::kMixed;
  std::string what_;
  bool by_port_ = false;
  bool chance_ = false;
  bool unknown_ = false;
};

// How a test of a set splits `ports`.
Split SplitBySet(const Condition& condition, const StoredSet& set, const Packet& packet,
                 const PortSet& ports);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_TEST_SPLIT_H_
