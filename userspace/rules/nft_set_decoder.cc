// SPDX-License-Identifier: Apache-2.0
#include "rules/nft_set_decoder.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

// NFT_DATA_VALUE_MAXLEN: a longer key cannot be one of the kernel.
constexpr uint32_t kMaxSetKeySize = 64;

// The type of an element of user data that has a comment: NFTNL_UDATA_SET_ELEM_COMMENT of
// libnftnl.
constexpr uint8_t kSetElementComment = 0;

// The largest byte.
constexpr char kOnes = '\xff';

uint32_t SetWord(absl::string_view payload) {
  return ntohl(base::ValueOf<uint32_t>(payload).value_or(0));
}

bool IsSetMessage(const base::NetlinkMessage& message, uint16_t type) {
  return message.type == ((NFNL_SUBSYS_NFTABLES << 8) | type);
}

// The big-endian number before `key`; nullopt for 0.
std::optional<std::string> KeyBefore(std::string key) {
  for (size_t i = key.size(); i-- > 0;) {
    if (key[i] != 0) {
      key[i] = static_cast<char>(static_cast<uint8_t>(key[i]) - 1);
      return key;
    }
    key[i] = kOnes;
  }
  return std::nullopt;
}

std::string DataOfSetElement(absl::string_view attributes) {
  return std::string(base::FindAttribute(attributes, NFTA_DATA_VALUE));
}

Verdict DecodeSetVerdict(absl::string_view attributes) {
  const auto code =
      static_cast<int32_t>(SetWord(base::FindAttribute(attributes, NFTA_VERDICT_CODE)));
  const auto chain = [attributes] {
    return std::string(base::TextOf(base::FindAttribute(attributes, NFTA_VERDICT_CHAIN)));
  };
  switch (code) {
    case NFT_JUMP:
      return {VerdictKind::kJump, chain(), ""};
    case NFT_GOTO:
      return {VerdictKind::kGoto, chain(), ""};
    case NFT_RETURN:
      return {VerdictKind::kReturn, "", ""};
    case NFT_CONTINUE:
      return {VerdictKind::kContinue, "", ""};
    case NFT_BREAK:
      return {VerdictKind::kBreak, "", ""};
    case NF_ACCEPT:
      return {VerdictKind::kAccept, "", ""};
    case NF_DROP:
      return {VerdictKind::kDrop, "", ""};
    default:
      if ((code & NF_VERDICT_MASK) == NF_QUEUE) return {VerdictKind::kDivert, "", "queue"};
      return {VerdictKind::kDivert, "", absl::StrCat("verdict ", code)};
  }
}

// `bytes` are a sequence of type (1 byte), length (1 byte) and value.
std::string CommentOfSetElement(absl::string_view bytes) {
  while (bytes.size() >= 2) {
    const auto type = static_cast<uint8_t>(bytes[0]);
    const size_t length = static_cast<uint8_t>(bytes[1]);
    bytes.remove_prefix(2);
    if (length > bytes.size()) break;
    if (type == kSetElementComment) return std::string(base::TextOf(bytes.substr(0, length)));
    bytes.remove_prefix(length);
  }
  return "";
}

// Whether lookups of the element depend on the packets before: counters do not, limits do.
bool SetExpressionDecides(absl::string_view expression) {
  const absl::string_view name = base::TextOf(base::FindAttribute(expression, NFTA_EXPR_NAME));
  return name != "counter" && name != "last";
}

bool SetElementChanges(uint16_t attribute, absl::string_view payload) {
  switch (attribute) {
    case NFTA_SET_ELEM_TIMEOUT:
    case NFTA_SET_ELEM_EXPIRATION:
      return base::ValueOf<uint64_t>(payload).value_or(0) != 0;
    case NFTA_SET_ELEM_EXPR:
      return SetExpressionDecides(payload);
    case NFTA_SET_ELEM_EXPRESSIONS:
      for (base::NetlinkAttribute each; base::NextAttribute(payload, each);) {
        if (each.type == NFTA_LIST_ELEM && SetExpressionDecides(each.payload)) return true;
      }
      return false;
    default:
      return false;
  }
}

}  // namespace

std::optional<NftSetInfo> DecodeNftSet(const base::NetlinkMessage& message) {
  if (!IsSetMessage(message, NFT_MSG_NEWSET)) return std::nullopt;
  NftSetInfo info;
  absl::string_view attributes = base::ParseNftMessage(message.payload).attributes;
  for (base::NetlinkAttribute each; base::NextAttribute(attributes, each);) {
    switch (each.type) {
      case NFTA_SET_NAME:
        info.name = std::string(base::TextOf(each.payload));
        break;
      case NFTA_SET_FLAGS:
        info.flags = SetWord(each.payload);
        break;
      case NFTA_SET_KEY_LEN:
        info.key_size = SetWord(each.payload);
        break;
      case NFTA_SET_TIMEOUT:
        info.expires = base::ValueOf<uint64_t>(each.payload).value_or(0) != 0;
        break;
      default:
        break;
    }
  }
  if (info.name.empty() || info.key_size == 0 || info.key_size > kMaxSetKeySize) {
    return std::nullopt;
  }
  return info;
}

NftSetDecoder::NftSetDecoder(NftSetInfo info) : info_(std::move(info)) {
  set_.chance = info_.expires || (info_.flags & NFT_SET_EVAL) != 0;
}

bool NftSetDecoder::Paired() const {
  return (info_.flags & (NFT_SET_INTERVAL | NFT_SET_CONCAT)) == NFT_SET_INTERVAL;
}

void NftSetDecoder::Add(const base::NetlinkMessage& message) {
  if (!IsSetMessage(message, NFT_MSG_NEWSETELEM)) return;
  absl::string_view elements = base::FindAttribute(
      base::ParseNftMessage(message.payload).attributes, NFTA_SET_ELEM_LIST_ELEMENTS);
  for (base::NetlinkAttribute each; base::NextAttribute(elements, each);) {
    if (each.type == NFTA_LIST_ELEM) AddElement(each.payload);
  }
}

void NftSetDecoder::AddElement(absl::string_view attributes) {
  Element element;
  uint32_t flags = 0;
  for (base::NetlinkAttribute each; base::NextAttribute(attributes, each);) {
    switch (each.type) {
      case NFTA_SET_ELEM_KEY:
        element.first = DataOfSetElement(each.payload);
        break;
      case NFTA_SET_ELEM_KEY_END:
        element.last = DataOfSetElement(each.payload);
        break;
      case NFTA_SET_ELEM_DATA: {
        element.data = DataOfSetElement(each.payload);
        const absl::string_view verdict = base::FindAttribute(each.payload, NFTA_DATA_VERDICT);
        if (!verdict.empty()) element.verdict = DecodeSetVerdict(verdict);
        break;
      }
      case NFTA_SET_ELEM_FLAGS:
        flags = SetWord(each.payload);
        break;
      case NFTA_SET_ELEM_USERDATA:
        element.comment = CommentOfSetElement(each.payload);
        break;
      default:
        if (SetElementChanges(each.type, each.payload)) set_.chance = true;
    }
  }
  if ((flags & NFT_SET_ELEM_CATCHALL) != 0) {
    element.first.assign(info_.key_size, '\0');
    element.last.assign(info_.key_size, kOnes);
    element.catchall = true;
    catchall_ = std::move(element);
    return;
  }
  if (element.first.size() != info_.key_size) {
    set_.unknown = absl::StrCat("set ", info_.name, " with a damaged element");
    return;
  }
  const bool range = element.last.size() == info_.key_size;
  if (Paired() && !range) {
    bounds_.push_back({(flags & NFT_SET_ELEM_INTERVAL_END) != 0, std::move(element)});
    return;
  }
  if (!range) element.last = element.first;
  set_.elements.push_back(std::move(element));
}

void NftSetDecoder::Join() {
  // Where one range ends, the next one may begin.
  std::sort(bounds_.begin(), bounds_.end(), [](const Bound& a, const Bound& b) {
    return std::tie(a.element.first, b.end) < std::tie(b.element.first, a.end);
  });
  std::optional<Element> open;
  // `last`: nullopt if there is no key before the end.
  const auto close = [&](std::optional<std::string> last) {
    std::optional<Element> range = std::exchange(open, std::nullopt);
    if (!range.has_value() || !last.has_value() || *last < range->first) return;
    range->last = *std::move(last);
    set_.elements.push_back(*std::move(range));
  };
  for (Bound& bound : bounds_) {
    close(KeyBefore(bound.element.first));
    if (!bound.end) open = std::move(bound.element);
  }
  close(std::string(info_.key_size, kOnes));
  bounds_.clear();
}

Set NftSetDecoder::Take() && {
  Join();
  if (catchall_.has_value()) set_.elements.push_back(*std::move(catchall_));
  return std::move(set_);
}

}  // namespace npg::rules
