// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_BATCH_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_BATCH_H_

#include <linux/netlink.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"

namespace npg::dataplane {

// How a transaction ended.
struct NftCommit {
  int error = 0;     // positive errno of the first message that was refused; 0 = applied
  std::string what;  // what that message was to do

  // RESOURCE_EXHAUSTED when a set is full, ABORTED when the rule set is not of
  // the expected generation any more, PERMISSION_DENIED, UNIMPLEMENTED where
  // the kernel lacks something, else as the errno says.
  absl::Status ToStatus() const;
};

// One nf_tables transaction: all of its messages take effect at once, or none.
class NftBatch {
 public:
  // Numbers its messages from `socket`. With a `generation`, the kernel takes
  // the transaction only while the rule set is of that generation.
  explicit NftBatch(base::NetlinkSocket& socket, std::optional<uint32_t> generation = std::nullopt);

  // Adds a message: `type` is NFT_MSG_*, `flags` NLM_F_*, `what` says for errors
  // what it does ("add set tcp4"). `payload` appends the attributes and returns
  // true when there is more for another message of the same kind: a list of
  // elements may not fit one.
  void Add(uint16_t type, uint16_t flags, absl::string_view what,
           absl::FunctionRef<bool(nlmsghdr* message)> payload);

  // The same for one of libnftnl's objects and its nftnl_..._nlmsg_build_payload.
  template <typename Build, typename Object>
  void Add(uint16_t type, uint16_t flags, absl::string_view what, Build build, Object* object) {
    Add(type, flags, what, [build, object](nlmsghdr* message) {
      build(message, object);
      return false;
    });
  }

  // Sends it. An error only when the outcome is unknown. Once.
  absl::StatusOr<NftCommit> Commit();

 private:
  struct Label {
    uint32_t sequence;
    std::string what;
  };

  void AddMarker(uint16_t type, std::optional<uint32_t> generation);
  nlmsghdr* Start(uint16_t type, uint16_t family, uint16_t flags);
  void Append();

  base::NetlinkSocket& socket_;
  std::vector<uint8_t> messages_;
  std::vector<uint8_t> scratch_;  // the message being built
  std::vector<Label> labels_;
  size_t last_offset_ = 0;
};

// The number of the rule set's present generation in this network namespace.
absl::StatusOr<uint32_t> NftGeneration(base::NetlinkSocket& socket);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_BATCH_H_
