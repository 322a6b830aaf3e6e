// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_NFT_SET_DECODER_H_
#define NODEPORT_GUARD_RULES_NFT_SET_DECODER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/rule.h"

namespace npg::rules {

// A set or map of nf_tables as NFT_MSG_NEWSET, the answer to NFT_MSG_GETSET, describes it.
struct NftSetInfo {
  std::string name;
  uint32_t flags = 0;     // NFT_SET_...
  uint32_t key_size = 0;  // in bytes
  bool expires = false;   // its elements have a timeout by default
};

// nullopt: it is no set, or is damaged.
std::optional<NftSetInfo> DecodeNftSet(const base::NetlinkMessage& message);

// Gathers the elements from the messages of the kernel's answer to NFT_MSG_GETSETELEM
// (net/netfilter/nf_tables_api.c, nf_tables_fill_setelem()).
class NftSetDecoder {
 public:
  explicit NftSetDecoder(NftSetInfo info);

  // Messages of other types add nothing.
  void Add(const base::NetlinkMessage& message);
  // Ranges of sets that are not concatenations come as a start and, as an element of its own with
  // NFT_SET_ELEM_INTERVAL_END, the first value behind the end, in any order: they are joined here.
  Set Take() &&;

 private:
  // One end of a range: the element has its key in `first`.
  struct Bound {
    bool end = false;
    Element element;
  };
  // Whether ranges come as pairs of elements.
  bool Paired() const;
  void AddElement(absl::string_view attributes);
  void Join();

  NftSetInfo info_;
  Set set_;
  std::vector<Bound> bounds_;
  std::optional<Element> catchall_;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_NFT_SET_DECODER_H_
