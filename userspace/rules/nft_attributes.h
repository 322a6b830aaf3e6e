// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_NFT_ATTRIBUTES_H_
#define NODEPORT_GUARD_RULES_NFT_ATTRIBUTES_H_

#include <endian.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "base/netlink_view.h"

namespace npg::rules {

// The attributes of one nest, by type, from one walk. Of several of a type, the first.
class NftAttributes {
 public:
  // Those of expressions that are read here have smaller types.
  static constexpr size_t kTypes = 12;

  explicit NftAttributes(absl::string_view bytes) {
    for (base::NetlinkAttribute attribute; base::NextAttribute(bytes, attribute);) {
      if (attribute.type >= kTypes || Has(attribute.type)) continue;
      present_ |= 1U << attribute.type;
      values_.at(attribute.type) = {attribute.payload.data(), attribute.payload.size()};
    }
  }

  bool Has(uint16_t type) const { return (present_ >> type & 1U) != 0; }

  // Empty if there is none.
  absl::string_view Bytes(uint16_t type) const {
    if (!Has(type)) return "";
    return {values_.at(type).data, values_.at(type).size};
  }
  absl::string_view Text(uint16_t type) const { return base::TextOf(Bytes(type)); }

  // nf_tables has its numbers in network order.
  std::optional<uint32_t> Number(uint16_t type) const {
    const std::optional<uint32_t> value = base::ValueOf<uint32_t>(Bytes(type));
    if (!value) return std::nullopt;
    return be32toh(*value);
  }

 private:
  // Without a constructor: a rule has some twenty nests, with few attributes each.
  struct Range {
    const char* data;
    size_t size;
  };
  std::array<Range, kTypes> values_;  // those that are present
  uint32_t present_ = 0;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_NFT_ATTRIBUTES_H_
