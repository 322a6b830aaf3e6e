// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_batch.h"

#include <arpa/inet.h>
#include <linux/netlink.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
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
#include "base/nft_objects.h"

namespace npg::dataplane {
namespace {

// libnftnl fills a list of elements up to the 64 KiB that an attribute can have, but
// checks the size only after it has written an element.
constexpr size_t kScratchSize = size_t{128} << 10;

}  // namespace

absl::Status NftCommit::ToStatus() const {
  switch (error) {
    case 0:
      return absl::OkStatus();
    case ERESTART:
      return absl::AbortedError(absl::StrCat(what, ": the rule set was changed meanwhile"));
    case ENFILE:
    case ENOSPC:
      return absl::ResourceExhaustedError(absl::StrCat(what, ": the set is full"));
    default:
      return base::ErrnoStatus(error, what);
  }
}

NftBatch::NftBatch(base::NetlinkSocket& socket, std::optional<uint32_t> generation)
    : socket_(socket), scratch_(kScratchSize) {
  AddMarker(NFNL_MSG_BATCH_BEGIN, generation);
}

nlmsghdr* NftBatch::Start(uint16_t type, uint16_t family, uint16_t flags) {
  return nftnl_nlmsg_build_hdr(reinterpret_cast<char*>(scratch_.data()), type, family,
                               static_cast<uint16_t>(NLM_F_REQUEST | flags),
                               socket_.NextSequence());
}

void NftBatch::Append() {
  const auto* message = reinterpret_cast<const nlmsghdr*>(scratch_.data());
  last_offset_ = messages_.size();
  messages_.insert(messages_.end(), scratch_.begin(), scratch_.begin() + message->nlmsg_len);
  messages_.resize(NLMSG_ALIGN(messages_.size()));
}

void NftBatch::AddMarker(uint16_t type, std::optional<uint32_t> generation) {
  nlmsghdr* message = Start(type, AF_UNSPEC, 0);
  // Start() adds the nf_tables subsystem to the type, which batch markers do not have.
  message->nlmsg_type = type;
  static_cast<nfgenmsg*>(mnl_nlmsg_get_payload(message))->res_id = htons(NFNL_SUBSYS_NFTABLES);
  if (generation.has_value()) mnl_attr_put_u32(message, NFNL_BATCH_GENID, htonl(*generation));
  labels_.push_back({message->nlmsg_seq, "start an nf_tables transaction"});
  const size_t last = last_offset_;
  Append();
  if (type == NFNL_MSG_BATCH_END) last_offset_ = last;
}

void NftBatch::Add(uint16_t type, uint16_t flags, absl::string_view what,
                   absl::FunctionRef<bool(nlmsghdr* message)> payload) {
  bool more = true;
  while (more) {
    nlmsghdr* message = Start(type, NFPROTO_INET, flags);
    more = payload(message);
    labels_.push_back({message->nlmsg_seq, std::string(what)});
    Append();
  }
}

absl::StatusOr<NftCommit> NftBatch::Commit() {
  // The kernel acknowledges the last message after the commit: without an error before
  // that, the transaction was applied.
  auto* last = reinterpret_cast<nlmsghdr*>(&messages_[last_offset_]);
  last->nlmsg_flags |= NLM_F_ACK;
  const uint32_t last_sequence = last->nlmsg_seq;
  AddMarker(NFNL_MSG_BATCH_END, std::nullopt);

  const auto verdicts = socket_.SendAll(messages_, "send an nf_tables transaction");
  if (!verdicts.ok()) return verdicts.status();
  bool acknowledged = false;
  for (const base::NetlinkVerdict& verdict : *verdicts) {
    for (const Label& label : labels_) {
      if (label.sequence != verdict.sequence) continue;
      if (verdict.error != 0) return NftCommit{verdict.error, label.what};
      acknowledged = acknowledged || verdict.sequence == last_sequence;
      break;
    }
  }
  if (!acknowledged)
    return absl::InternalError("the kernel did not answer an nf_tables transaction");
  return NftCommit{};
}

}  // namespace npg::dataplane
