// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_NETLINK_SOCKET_H_
#define NODEPORT_GUARD_BASE_NETLINK_SOCKET_H_

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace npg::base {

// The messages of one answer, in order.
class NetlinkMessages {
 public:
  void ForEach(absl::FunctionRef<void(const nlmsghdr& message)> visit) const;

 private:
  friend class NetlinkSocket;
  std::vector<uint8_t> bytes_;  // each message padded to NLMSG_ALIGNTO
};

// The kernel's verdict on one message: 0 (an acknowledgement) or a positive errno.
struct NetlinkVerdict {
  uint32_t sequence = 0;
  int error = 0;
};

// A netlink socket of this network namespace with its own port id. Closed on exec, so that
// objects that it owns are not kept alive by a child. Not thread-safe.
class NetlinkSocket {
 public:
  // `protocol` is NETLINK_NETFILTER, NETLINK_SOCK_DIAG and the like.
  // UNIMPLEMENTED when the kernel lacks it.
  static absl::StatusOr<NetlinkSocket> Open(int protocol);

  int fd() const { return fd_.get(); }
  uint32_t port_id() const { return port_id_; }

  // Sends `request`, with a sequence number, and returns the messages of the answer; with
  // NLM_F_DUMP in its flags that is the whole list. Repeats the request for a list that
  // changed while the kernel walked it, up to a limit: then UNAVAILABLE.
  // DEADLINE_EXCEEDED when the kernel does not answer for some seconds. The kernel's error
  // becomes a status with `what` before it.
  absl::StatusOr<NetlinkMessages> Ask(nlmsghdr& request, absl::string_view what);

  // The same for a long list: calls `visit` for each message as it arrives. Calls `start`
  // before the first one, and again when it repeats the request: earlier messages are then
  // void.
  absl::Status AskForEach(nlmsghdr& request, absl::string_view what,
                          absl::FunctionRef<void()> start,
                          absl::FunctionRef<void(const nlmsghdr& message)> visit);

  // Sends `messages` (such as an nf_tables batch) as one datagram of any size, and returns
  // the verdicts that the kernel has queued by then. An error when some may be missing
  // (ENOBUFS).
  absl::StatusOr<std::vector<NetlinkVerdict>> SendAll(const std::vector<uint8_t>& messages,
                                                      absl::string_view what);

  // Joins a multicast group.
  absl::Status Join(int group);

  // Sets the size of the receive queue, as far as the process may. Messages that do not fit
  // are lost.
  void GrowQueue(int bytes) const;

  enum class Received { kMessages, kNothing, kOverrun };
  // Reads one datagram without waiting. kOverrun: messages were lost because the queue was
  // full.
  absl::StatusOr<Received> Receive(absl::FunctionRef<void(const nlmsghdr& message)> visit);

  // For messages that the caller numbers itself.
  uint32_t NextSequence() { return ++sequence_; }

 private:
  explicit NetlinkSocket(UniqueFd fd)
      : fd_(std::move(fd)),
        // NOLINTNEXTLINE(modernize-avoid-c-arrays): a std::vector would be written with zeros
        buffer_(std::make_unique_for_overwrite<char[]>(kBufferSize)) {}

  // Twice the kernel's maximum for one datagram of a dump.
  static constexpr size_t kBufferSize = size_t{64} << 10;

  absl::Status Send(const void* data, size_t size, absl::string_view what) const;
  absl::StatusOr<bool> AskOnce(nlmsghdr& request, absl::string_view what,
                               absl::FunctionRef<void(const nlmsghdr& message)> visit);

  UniqueFd fd_;
  uint32_t port_id_ = 0;
  uint32_t sequence_ = 0;
  // Not zeroed: most sockets never need more than a page of it.
  std::unique_ptr<char[]> buffer_;  // NOLINT(modernize-avoid-c-arrays)
};

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_NETLINK_SOCKET_H_
