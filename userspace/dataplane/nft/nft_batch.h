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
  std::string what;  // the purpose of that message

  // RESOURCE_EXHAUSTED when a set is full, ABORTED when the rule set no longer has the
  // expected generation, PERMISSION_DENIED, UNIMPLEMENTED if the kernel lacks a feature,
  // otherwise the code of the errno.
  absl::Status ToStatus() const;
};

// One nf_tables transaction: all of its messages take effect at once, or none.
class NftBatch {
 public:
  // Takes sequence numbers from `socket`. With a `generation`, the kernel accepts the
  // transaction only while the rule set has that generation.
  explicit NftBatch(base::NetlinkSocket& socket, std::optional<uint32_t> generation = std::nullopt);

  // Adds a message: `type` is NFT_MSG_*, `flags` NLM_F_*, `what` its purpose, for errors
  // ("add set tcp4"). `payload` appends the attributes and returns true if it needs
  // another message of the same kind: a list of elements may not fit into one.
  void Add(uint16_t type, uint16_t flags, absl::string_view what,
           absl::FunctionRef<bool(nlmsghdr* message)> payload);

  // The same for a libnftnl object and its nftnl_..._nlmsg_build_payload.
  template <typename Build, typename Object>
  void Add(uint16_t type, uint16_t flags, absl::string_view what, Build build, Object* object) {
    Add(type, flags, what, [build, object](nlmsghdr* message) {
      build(message, object);
      return false;
    });
  }

  // Sends it. An error means that the outcome is unknown. Call it once.
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

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_BATCH_H_
