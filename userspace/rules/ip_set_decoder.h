// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_IP_SET_DECODER_H_
#define NODEPORT_GUARD_RULES_IP_SET_DECODER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/rule.h"

namespace npg::rules {

// Gathers an ipset from the messages of the kernel's answer to IPSET_CMD_LIST
// (net/netfilter/ipset/ip_set_core.c, ip_set_dump_do()).
class IpSetDecoder {
 public:
  // Messages of other types add nothing.
  void Add(const base::NetlinkMessage& message);

  // Whether it is a set of sets (list:set), and their names.
  bool is_list() const { return is_list_; }
  const std::vector<std::string>& members() const { return members_; }

  // Of a set of sets: no elements.
  Set Take() &&;

 private:
  void TakeType(absl::string_view type);
  void TakeHeader(absl::string_view attributes);
  void AddElement(absl::string_view attributes);
  void Fail(std::string unknown);

  std::string type_;
  bool is_list_ = false;
  // Of the addresses of all elements, in bits, if the set has such an option.
  std::optional<uint8_t> netmask_;
  std::vector<std::string> members_;
  Set set_;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_IP_SET_DECODER_H_
