// SPDX-License-Identifier: Apache-2.0
#include "controller/self_probe.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/cleanup/cleanup.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "base/unique_fd.h"
#include "controller/obstacle_search.h"
#include "core/desired_state.h"
#include "core/flow.h"
#include "core/mark.h"
#include "core/port.h"
#include "dataplane/bpf/cgroup_socket.h"
#include "dataplane/nft/nft_table.h"
#include "node/conntrack_watch.h"
#include "node/untracked_obstacles.h"

namespace npg::controller {
namespace {

constexpr absl::string_view kCanaryName = "nodeport-guard/self-probe";
constexpr absl::string_view kNoMemory = "the kernel had no memory to send";
constexpr int kMaxPorts = 8;         // attempts to get a port that is no NodePort,
constexpr int kMaxPortsInRange = 4;  // and one that is also in the range of the NodePorts
// The number of probes that use the same ports. A process that knows the ports can send from and
// to them between two probes. If conntrack tracks those packets, the next probe meets existing
// entries, and no event reports a new one.
constexpr int kSamePorts = 12;
constexpr size_t kNonceBytes = 16;
constexpr int kMaxMessages = 64;  // that one socket takes at a time
// For an answer over loopback. The first one covers two lost SYNs, which the kernel sends again
// after 1 s and 3 s; the second one, for what was broken the last time and is expected to be broken
// still, one of them, or lost data (after 200 ms).
constexpr absl::Duration kAnswer = absl::Milliseconds(3500);
constexpr absl::Duration kAnswerWhenBroken = absl::Milliseconds(1500);

// Not the wall clock, which can be set while a probe waits.
absl::Duration SinceBoot() {
  return absl::Nanoseconds(static_cast<int64_t>(base::BootNanoseconds()));
}

absl::string_view ProgramOf(int family) {
  return family == AF_INET ? "npg_connect4" : "npg_connect6";
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// The loopback address for packets of IPv4 or IPv6. On an IPv6 socket, that of IPv4 is
// v4-mapped, which runs connect6 also on a node without an IPv6 address.
Address Loopback(int family, bool v4, uint16_t port) {
  Address address;
  if (family == AF_INET) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&address.storage, &in, sizeof(in));
    address.size = sizeof(in);
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    in.sin6_addr = in6addr_loopback;
    if (v4) {
      in.sin6_addr = in6_addr{};
      in.sin6_addr.s6_addr[10] = in.sin6_addr.s6_addr[11] = 0xff;
      const in_addr_t loopback = htonl(INADDR_LOOPBACK);
      std::memcpy(&in.sin6_addr.s6_addr[12], &loopback, sizeof(loopback));
    }
    std::memcpy(&address.storage, &in, sizeof(in));
    address.size = sizeof(in);
  }
  return address;
}

// IPv4 v4-mapped; ports in host order.
struct End {
  std::array<uint8_t, 16> address{};
  uint16_t port = 0;

  bool operator==(const End&) const = default;
};

End EndOf(const Address& address) {
  End end;
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &address.storage, sizeof(in));
    end.address[10] = end.address[11] = 0xff;
    std::memcpy(&end.address[12], &in.sin_addr, sizeof(in.sin_addr));
    end.port = ntohs(in.sin_port);
  } else {
    sockaddr_in6 in{};
    std::memcpy(&in, &address.storage, sizeof(in));
    std::memcpy(end.address.data(), &in.sin6_addr, sizeof(in.sin6_addr));
    end.port = ntohs(in.sin6_port);
  }
  return end;
}

absl::StatusOr<uint16_t> BoundPort(int fd) {
  Address bound;
  bound.size = sizeof(bound.storage);
  if (getsockname(fd, bound.get(), &bound.size) != 0) {
    return base::ErrnoStatus(errno, "getsockname");
  }
  return EndOf(bound).port;
}

absl::Status CannotTell(const absl::Status& status) {
  if (status.ok() || absl::IsUnavailable(status)) return status;
  return absl::UnavailableError(status.message());
}

// Lets an IPv6 socket use v4-mapped addresses, whatever net.ipv6.bindv6only is.
void AllowMapped(int fd, int family) {
  constexpr int kOff = 0;
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &kOff, sizeof(kOff));
}

// Whether the kernel dropped packets that had reached the socket: its queue was full, or the
// memory for all sockets of the protocol. Rules of nftables drop them before they are counted here.
bool LostPackets(int fd) {
  std::array<uint32_t, SK_MEMINFO_VARS> info{};
  socklen_t size = sizeof(info);
  return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info.data(), &size) == 0 &&
         info[SK_MEMINFO_DROPS] > 0;
}

// Binds to a loopback port that is no NodePort: to `port` if that is free, or else to one that
// the kernel picks, and stores its number. Without SO_REUSEADDR and SO_REUSEPORT, so that no
// other socket can have the port as well. NOT_FOUND when the node does not have the address;
// otherwise UNAVAILABLE.
absl::Status BindApart(int fd, int family, int type, bool v4, core::Protocol protocol,
                       const core::PortEntries& nodeports, uint16_t& port) {
  const char* const what = v4 ? "bind to 127.0.0.1" : "bind to ::1";
  if (v4) AllowMapped(fd, family);
  for (int i = 0; i < kMaxPorts; ++i) {
    if (port == 0 || nodeports.contains(core::PortKey{port, protocol})) {
      // A socket can be bound once, so another one finds the port.
      const base::UniqueFd scout(socket(family, type | SOCK_CLOEXEC, 0));
      if (v4 && scout) AllowMapped(scout.get(), family);
      const Address any = Loopback(family, v4, 0);
      if (!scout || bind(scout.get(), any.get(), any.size) != 0) {
        const int error = errno;
        if (error == EADDRNOTAVAIL) return absl::NotFoundError(what);
        return CannotTell(base::ErrnoStatus(error, what));
      }
      const absl::StatusOr<uint16_t> picked = BoundPort(scout.get());
      if (!picked.ok()) return CannotTell(picked.status());
      port = *picked;
      if (nodeports.contains(core::PortKey{port, protocol})) continue;
    }
    const Address wanted = Loopback(family, v4, port);
    if (bind(fd, wanted.get(), wanted.size) == 0) return absl::OkStatus();
    const int error = errno;
    if (error == EADDRNOTAVAIL) return absl::NotFoundError(what);
    if (error != EADDRINUSE) return CannotTell(base::ErrnoStatus(error, what));
    port = 0;
  }
  return absl::UnavailableError(absl::StrCat(
      what, ": each of ", kMaxPorts,
      " ports that the kernel picked is a NodePort, or was taken by another process; keep "
      "net.ipv4.ip_local_port_range out of the range of NodePorts"));
}

// Binds to a port between the lowest and the highest NodePort that is none, and stores its number.
// Rules that firewalls have for the whole range then apply to it. False when chance finds none that
// is free.
bool BindAmongNodePorts(int fd, int family, bool v4, core::Protocol protocol,
                        const core::PortEntries& nodeports, uint16_t& port) {
  if (nodeports.empty()) return false;
  const uint32_t low = nodeports.begin()->first.port;
  const uint32_t high = nodeports.rbegin()->first.port;
  for (int i = 0; i < kMaxPortsInRange; ++i) {
    uint32_t drawn = 0;
    if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) != ssize_t{sizeof(drawn)}) return false;
    const auto picked = static_cast<uint16_t>(low + drawn % (high - low + 1));
    if (nodeports.contains(core::PortKey{picked, protocol})) continue;
    const Address wanted = Loopback(family, v4, picked);
    if (bind(fd, wanted.get(), wanted.size) != 0) continue;
    port = picked;
    return true;
  }
  return false;
}

// Its close() resets the connection: no TIME_WAIT on either side.
void ResetAtClose(int fd) {
  constexpr linger kReset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &kReset, sizeof(kReset));
}

// Packets that the kernel dropped at the input of lo, whose backlog was full; nullopt when that
// cannot be read.
std::optional<uint64_t> LoopbackDrops() {
  constexpr int kLoopback = 1;  // its index in each network namespace
  struct {
    nlmsghdr header{};
    ifinfomsg link{};
  } request;
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETLINK;
  request.link.ifi_index = kLoopback;
  absl::StatusOr<base::NetlinkSocket> netlink = base::NetlinkSocket::Open(NETLINK_ROUTE);
  if (!netlink.ok()) return std::nullopt;
  const absl::StatusOr<base::NetlinkMessages> answer =
      netlink->Ask(request.header, "read the statistics of lo");
  if (!answer.ok()) return std::nullopt;
  std::optional<uint64_t> drops;
  answer->ForEach([&drops](const nlmsghdr& message) {
    const absl::string_view statistics = base::FindAttribute(
        base::AttributesBehind<ifinfomsg>(base::ViewOf(message).payload), IFLA_STATS64);
    constexpr size_t kOffset = offsetof(rtnl_link_stats64, rx_dropped);
    uint64_t value = 0;
    if (statistics.size() < kOffset + sizeof(value)) return;
    std::memcpy(&value, statistics.data() + kOffset, sizeof(value));
    drops = value;
  });
  return drops;
}

absl::StatusOr<std::string> MakeNonce() {
  std::string nonce(kNonceBytes, '\0');
  if (getrandom(nonce.data(), nonce.size(), GRND_NONBLOCK) != static_cast<ssize_t>(nonce.size())) {
    return absl::UnavailableError("the kernel has no random bytes yet");
  }
  return nonce;
}

bool IsLackOfMemory(int error) { return error == ENOBUFS || error == ENOMEM; }

// FAILED_PRECONDITION for an error that rules of the node, or the peer's kernel, give; UNAVAILABLE
// for one that shows nothing of them.
absl::Status ExchangeError(int error, absl::string_view what) {
  const absl::Status status = base::ErrnoStatus(error, what);
  switch (error) {
    case EPERM:
    case EACCES:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOPROTOOPT:  // "reject with icmp-proto-unreachable"
    case ETIMEDOUT:
      return absl::FailedPreconditionError(status.message());
    default:
      return absl::UnavailableError(status.message());
  }
}

// Sends all of `payload`: true when that was done, false when it has to wait, also for memory.
absl::StatusOr<bool> SendPayload(int fd, absl::string_view payload) {
  const ssize_t sent = send(fd, payload.data(), payload.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(payload.size())) return true;
  const int error = sent >= 0 ? EMSGSIZE : errno;
  if (error == EAGAIN || error == EINTR || IsLackOfMemory(error)) return false;
  return ExchangeError(error, "send");
}

// Receives from a connected socket what is there, up to a limit. `take` gets each datagram, or
// each piece of a stream, as long as it returns true. Returns whether something came.
absl::StatusOr<bool> ReceiveAll(int fd, bool stream,
                                absl::FunctionRef<bool(absl::string_view)> take) {
  std::array<char, 64> buffer{};
  bool any = false;
  for (int i = 0; i < kMaxMessages; ++i) {
    const ssize_t size = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return any;
    if (size < 0 || (size == 0 && stream)) {
      return ExchangeError(size == 0 ? ECONNRESET : errno, "receive");
    }
    any = true;
    if (!take({buffer.data(), static_cast<size_t>(size)})) return any;
  }
  return any;
}

}  // namespace

// The listener for one kind of traffic.
struct SelfProbe::Canary {
  abi::Traffic traffic = abi::Traffic::kTcp4;
  bool tcp = true;
  bool v4 = true;
  uint16_t* port = nullptr;
  base::UniqueFd fd;   // empty where the node cannot have it, or !ready.ok()
  absl::Status ready;  // why it could not be had

  core::PortKey key() const { return {*port, tcp ? core::Protocol::kTcp : core::Protocol::kUdp}; }
  int type() const { return (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK; }
  End end() const { return EndOf(Loopback(v4 ? AF_INET : AF_INET6, v4, *port)); }
};

// A socket that connects to a canary, once.
struct SelfProbe::Client {
  int family = AF_INET;
  Canary* canary = nullptr;
  uint16_t* port = nullptr;
  std::string payload;
  base::UniqueFd fd;   // empty where it was not tried, or !ready.ok()
  absl::Status ready;  // why it shows nothing of its traffic: it has no socket, or was not exempted
  base::UniqueFd accepted;
  absl::Status connected;
  bool sent = false;    // at least once
  bool heard = false;   // by the canary, of UDP
  std::string request;  // as it arrived, of TCP
  std::string answer;
  bool echoed = false;  // by the canary
  bool answered = false;
  std::string tracked;      // how conntrack did so
  absl::Duration deadline;  // SinceBoot()

  // No answer came, and may still.
  bool waits() const { return fd && !answered && connected.ok(); }
  // Grows with each part of the exchange that is done, a limited number of times: not when a
  // datagram is sent again.
  size_t Progress() const {
    return request.size() + (accepted ? 1U : 0U) + (sent ? 1U : 0U) + (heard ? 1U : 0U) +
           (echoed ? 1U : 0U) + (waits() ? 0U : 1U);
  }
  // As the canary sees it.
  End end() const { return EndOf(Loopback(family, canary->v4, *port)); }
  core::Flow flow() const {
    const End from = end();
    const End to = canary->end();
    return {static_cast<uint8_t>(canary->key().protocol), from.address, to.address, from.port,
            to.port};
  }
  std::string Text() const {
    return absl::StrCat(abi::Meaning(canary->traffic), " to ",
                        canary->v4 ? "127.0.0.1:" : "[::1]:", *canary->port);
  }
  void Step();
  // Sends the payload, if that need not wait.
  void Send();
  // A datagram never left, or one end of a connection takes no data: the kernel has no memory.
  bool NothingSent() const {
    if (!canary->tcp) return !sent;
    return accepted && (!sent || (request == payload && !echoed));
  }
};

// Rules that have untracked packets tracked again.
struct SelfProbe::TrackingRules {
  abi::TrafficBits traffic = 0;  // whose packets meet them
  std::string where;             // the first one

  void Add(const node::UntrackedObstacle& obstacle) {
    for (const auto& row : abi::kTraffic) {
      const bool v4 = row.value == abi::Traffic::kTcp4 || row.value == abi::Traffic::kUdp4;
      const auto other = static_cast<uint8_t>(v4 ? NFPROTO_IPV6 : NFPROTO_IPV4);
      if (obstacle.family != other) traffic |= abi::Bit(row.value);
    }
    if (where.empty()) where = obstacle.where;
  }
};

struct SelfProbe::Attempt {
  std::array<Canary, kCanaries> canaries;
  std::array<Client, kClients> clients;
  std::unique_ptr<dataplane::CgroupSockets> sockets;  // until they are made
  abi::TrafficBits was_broken = 0;                    // in the last probe
  std::optional<node::ConntrackWatch> watch;
  absl::Status watched;                  // why there is no watch
  bool all_seen = true;                  // no event of conntrack was lost
  std::optional<ObstacleSearch> search;  // instead of a watch
  TrackingRules tracks, may_track;       // that it found
  absl::Duration start;                  // SinceBoot()
  // The exchange goes on until then, whatever the deadlines of the clients.
  absl::Duration not_before = absl::ZeroDuration();
  std::optional<uint64_t> dropped;  // LoopbackDrops() before the connects
  bool exchanged = false;
  int turns = 0;  // of Exchange()
};

void SelfProbe::Client::Send() {
  const absl::StatusOr<bool> done = SendPayload(fd.get(), payload);
  connected.Update(done.status());
  sent = sent || (done.ok() && *done);
}

// One step of the exchange, as far as it need not wait.
void SelfProbe::Client::Step() {
  const bool tcp = canary->tcp;
  const auto note = [this](const absl::StatusOr<bool>& done) {
    connected.Update(done.status());
    return done.ok() && *done;
  };
  if (tcp && !sent) Send();
  if (accepted && !echoed) {
    note(ReceiveAll(accepted.get(), /*stream=*/true, [this](absl::string_view piece) {
      absl::StrAppend(&request, piece);
      return request.size() < payload.size();
    }));
    if (request == payload) echoed = note(SendPayload(accepted.get(), payload));
  }
  if (!connected.ok()) return;
  note(ReceiveAll(fd.get(), tcp, [this, tcp](absl::string_view piece) {
    answer = tcp ? absl::StrCat(answer, piece) : std::string(piece);
    answered = answer == payload;
    return !answered && answer.size() <= payload.size() + kNonceBytes;
  }));
}

SelfProbe::SelfProbe(dataplane::BpfGuard& guard, dataplane::NftTable& table, core::Mark mark,
                     abi::Mode mode, int conntrack_queue)
    : guard_(guard), table_(table), mark_(mark), mode_(mode), conntrack_queue_(conntrack_queue) {}

SelfProbe::~SelfProbe() = default;

absl::Status SelfProbe::Listen(const core::PortEntries& nodeports, Canary& canary) {
  const int family = canary.v4 ? AF_INET : AF_INET6;
  // In the controller's own cgroup: the lookup finds listeners of every cgroup.
  canary.fd.Reset(socket(family, canary.type(), 0));
  if (!canary.fd && !canary.v4 && errno == EAFNOSUPPORT) return absl::OkStatus();
  if (!canary.fd) return CannotTell(base::ErrnoStatus(errno, "create a socket"));
  const core::Protocol protocol = canary.key().protocol;
  const bool in_range = *canary.port == 0 && BindAmongNodePorts(canary.fd.get(), family, canary.v4,
                                                                protocol, nodeports, *canary.port);
  const absl::Status bound = in_range ? absl::OkStatus()
                                      : BindApart(canary.fd.get(), family, canary.type(), canary.v4,
                                                  protocol, nodeports, *canary.port);
  if (!canary.v4 && absl::IsNotFound(bound)) {
    canary.fd.Reset();
    *canary.port = 0;
    return absl::OkStatus();
  }
  if (!bound.ok()) return CannotTell(bound);
  if (canary.tcp && listen(canary.fd.get(), SOMAXCONN) != 0) {
    return CannotTell(base::ErrnoStatus(errno, "listen on loopback"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SelfProbe::Seen> SelfProbe::Look() {
  Seen seen;
  const absl::StatusOr<uint64_t> probed = guard_.Counter(abi::Counter::kProbed);
  if (!probed.ok()) return probed.status();
  seen.probed = *probed;
  if (mode_ != abi::Mode::kEnforce) return seen;
  const absl::StatusOr<uint64_t> packets = table_.ExemptedPackets();
  if (!packets.ok()) return packets.status();
  seen.packets = *packets;
  return seen;
}

void SelfProbe::BindClients(dataplane::CgroupSockets::Made& made,
                            const core::PortEntries& nodeports) {
  for (size_t i = 0; i < attempt_->clients.size(); ++i) {
    Client& client = attempt_->clients.at(i);
    const Canary& canary = *client.canary;
    absl::StatusOr<base::UniqueFd>& fd = made.sockets.at(i);
    client.ready = canary.ready;
    if (!canary.fd) continue;
    // A kernel without IPv6 never runs connect6.
    if (absl::IsUnimplemented(fd.status()) && client.family == AF_INET6) continue;
    client.ready = CannotTell(fd.status());
    if (!fd.ok()) continue;
    client.ready = CannotTell(BindApart(fd->get(), client.family, canary.type(), canary.v4,
                                        canary.key().protocol, nodeports, *client.port));
    if (client.ready.ok()) {
      client.fd = *std::move(fd);
    } else {
      *client.port = 0;
    }
  }
}

absl::Status SelfProbe::Connect(const absl::Status& entered, Client& client) {
  const Canary& canary = *client.canary;
  const int fd = client.fd.get();
  const absl::StatusOr<Seen> before = Look();
  if (!before.ok()) return before.status();
  const Address address = Loopback(client.family, canary.v4, *canary.port);
  if (canary.tcp) ResetAtClose(fd);
  if (connect(fd, address.get(), address.size) != 0 && errno != EINPROGRESS) {
    const int error = errno;
    const absl::Status status =
        base::ErrnoStatus(error, absl::StrCat("connect to the canary, ", client.Text()));
    return IsLackOfMemory(error) ? CannotTell(status) : status;
  }
  // Rules on output may drop it.
  if (!canary.tcp) client.Send();
  uint32_t mark = 0;
  socklen_t size = sizeof(mark);
  if (getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &size) != 0) {
    return base::ErrnoStatus(errno, "read the mark of the self-probe's socket");
  }
  const absl::StatusOr<Seen> after = Look();
  if (!after.ok()) return after.status();
  if (after->probed == before->probed && !entered.ok()) {
    return absl::UnavailableError(absl::StrCat(
        "this process is not in the guarded cgroup, and cannot create a socket in it: ",
        entered.message()));
  }
  if (after->probed == before->probed) {
    return absl::FailedPreconditionError(
        absl::StrCat(ProgramOf(client.family),
                     " did not see a connect to a guarded port from within the cgroup"));
  }
  if (mode_ != abi::Mode::kEnforce) return absl::OkStatus();
  if ((mark & mark_.mask) != mark_.value) {
    return absl::FailedPreconditionError(
        absl::StrCat("a connect was exempted by ", ProgramOf(client.family),
                     " but its socket has the mark ", core::HexText(mark), ", not ",
                     core::ToString(mark_), ": another program sets or clears it"));
  }
  if (after->packets == before->packets && !canary.tcp && !client.sent &&
      !absl::IsFailedPrecondition(client.connected)) {
    // No rule refused the datagram.
    return absl::UnavailableError(absl::StrCat(
        "a connect (", client.Text(),
        ") could not be tested: ", client.connected.ok() ? kNoMemory : client.connected.message()));
  }
  if (after->packets == before->packets) {
    return absl::FailedPreconditionError(
        absl::StrCat("the nft table inet ", dataplane::kNftTableName,
                     " did not see the packets of a connect that was marked"));
  }
  return absl::OkStatus();
}

// The canaries are NodePorts only while this runs: the programs act at the connect.
absl::Status SelfProbe::ConnectAll(const absl::Status& entered) {
  core::Difference enter, leave;
  for (const Canary& canary : attempt_->canaries) {
    if (!canary.fd) continue;
    enter.put.push_back({canary.key(), {abi::Bit(abi::Source::kProbe), std::string(kCanaryName)}});
    leave.remove.push_back(canary.key());
  }
  const absl::Cleanup remove = [&] {
    // The next start replaces or removes an entry that stays.
    guard_.ApplyNodePorts(leave).status().IgnoreError();
  };
  const auto put = guard_.ApplyNodePorts(enter);
  if (!put.ok()) return put.status();
  for (Client& client : attempt_->clients) {
    if (!client.fd) continue;
    client.ready = Connect(entered, client);
    if (!client.ready.ok()) {
      // Its packets were not exempted, and show nothing.
      client.fd.Reset();
      continue;
    }
    // A busy node may be slow; what was broken the last time is expected to be so still.
    const bool was_broken = (attempt_->was_broken & abi::Bit(client.canary->traffic)) != 0;
    client.deadline = SinceBoot() + (was_broken ? kAnswerWhenBroken : kAnswer);
  }
  return absl::OkStatus();
}

size_t SelfProbe::Progress() const {
  size_t all = 0;
  for (const Client& client : attempt_->clients) all += client.Progress();
  return all;
}

// Accepts connections, or answers datagrams, of the clients.
void SelfProbe::Serve(Canary& canary) {
  const auto client_at = [&](const Address& peer) -> Client* {
    for (Client& client : attempt_->clients) {
      if (client.canary == &canary && client.fd && client.end() == EndOf(peer)) return &client;
    }
    return nullptr;
  };
  for (int i = 0; i < kMaxMessages; ++i) {
    Address peer;
    peer.size = sizeof(peer.storage);
    if (canary.tcp) {
      base::UniqueFd accepted(
          accept4(canary.fd.get(), peer.get(), &peer.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!accepted) return;
      ResetAtClose(accepted.get());
      Client* const client = client_at(peer);
      if (client != nullptr) client->accepted = std::move(accepted);
    } else {
      std::array<char, 64> buffer{};
      const ssize_t size = recvfrom(canary.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                                    peer.get(), &peer.size);
      if (size < 0) return;
      const absl::string_view data(buffer.data(), static_cast<size_t>(size));
      Client* const client = client_at(peer);
      if (client != nullptr && data == client->payload) {
        client->heard = true;
        sendto(canary.fd.get(), data.data(), data.size(), MSG_DONTWAIT, peer.get(), peer.size);
      }
    }
  }
}

// Sends bytes each way on every connection. True when all are answered or their time is over.
bool SelfProbe::Exchange(absl::Duration until) {
  Attempt& attempt = *attempt_;
  // A datagram that met a full queue is not sent again by the kernel.
  for (Client& client : attempt.clients) {
    if (attempt.turns == 0 || client.canary->tcp || !client.waits()) continue;
    client.Send();
  }
  ++attempt.turns;
  for (;;) {
    const size_t before = Progress();
    for (Canary& canary : attempt.canaries) {
      if (canary.fd) Serve(canary);
    }
    absl::Duration last = attempt.not_before;
    std::vector<pollfd> waiting;
    for (Client& client : attempt.clients) {
      if (!client.waits()) continue;
      client.Step();
      if (!client.waits()) continue;
      last = std::max(last, client.deadline);
      const bool writes = client.canary->tcp && !client.sent;
      waiting.push_back({client.fd.get(), static_cast<int16_t>(writes ? POLLOUT : POLLIN), 0});
      if (client.accepted && !client.echoed) waiting.push_back({client.accepted.get(), POLLIN, 0});
    }
    TakeTracked();
    if (waiting.empty()) return true;
    const absl::Duration now = SinceBoot();
    // A process that got no time, or was stopped, must not take what has arrived for lost.
    if (Progress() != before) {
      attempt.not_before = now + kTurn;
      if (now < until) continue;
      return false;
    }
    if (now >= last) return true;
    if (now >= until) return false;
    for (const Canary& canary : attempt.canaries) {
      if (canary.fd) waiting.push_back({canary.fd.get(), POLLIN, 0});
    }
    const auto milliseconds = absl::ToInt64Milliseconds(std::min(last, until) - now) + 1;
    poll(waiting.data(), waiting.size(), static_cast<int>(milliseconds));
  }
}

// Notes which packets of the probe conntrack has tracked, and removes its entries. The sockets
// have both ports for themselves since before the watch began, so an entry between exactly these
// ends is the probe's.
void SelfProbe::TakeTracked() {
  Attempt& attempt = *attempt_;
  if (!attempt.watch) return;
  const absl::StatusOr<node::ConntrackWatch::Entries> entries = attempt.watch->Take();
  if (!entries.ok() || !entries->whole) attempt.all_seen = false;
  if (!entries.ok()) return;
  for (const node::ConntrackEntry& entry : entries->list) {
    for (Client& client : attempt.clients) {
      if (!client.fd) continue;
      const core::Flow request = client.flow();
      const core::Flow reply{request.protocol, request.server_address, request.client_address,
                             request.server_port, request.client_port};
      if (entry.flow != request && entry.flow != reply) continue;
      attempt.watch->Remove(entry).IgnoreError();
      client.tracked =
          absl::StrCat("conntrack tracked the ", entry.flow == request ? "packets" : "replies",
                       " of an exempted connect (", client.Text(), ") in zone ", entry.zone);
      break;
    }
  }
}

// Without a watch, the rules have to do. False: they are still being read.
bool SelfProbe::ReadRules(absl::Duration until) {
  Attempt& attempt = *attempt_;
  if (!attempt.search) return true;
  const std::optional<ObstacleSearch::Found> found =
      attempt.search->Take(std::max(until - SinceBoot(), absl::ZeroDuration()));
  if (!found) return false;
  attempt.search.reset();
  if (!found->ok()) {
    attempt.all_seen = false;
    attempt.watched = found->status();
    return true;
  }
  for (const node::UntrackedObstacle& obstacle : **found) {
    if (obstacle.kind != node::UntrackedObstacle::Kind::kTracks) continue;
    (obstacle.certain ? attempt.tracks : attempt.may_track).Add(obstacle);
  }
  return true;
}

// Why clients show nothing: a part of the guard that does not work before what cannot be told.
absl::Status SelfProbe::Unready(abi::TrafficBits& not_known) const {
  absl::Status failed, unknown;
  for (const Client& client : attempt_->clients) {
    if (client.ready.ok()) continue;
    not_known |= abi::Bit(client.canary->traffic);
    (absl::IsUnavailable(client.ready) ? unknown : failed).Update(client.ready);
  }
  failed.Update(unknown);
  return failed;
}

absl::Status SelfProbe::Judge() {
  Attempt& attempt = *attempt_;
  absl::Status failed, unknown;
  abi::TrafficBits not_known = 0;
  unknown = Unready(not_known);
  if ((attempt.tracks.traffic & ~not_known) != 0) {
    broken_ |= attempt.tracks.traffic & ~not_known;
    failed.Update(absl::FailedPreconditionError(
        absl::StrCat("a rule would have exempted packets tracked again: ", attempt.tracks.where)));
  }
  if (attempt.may_track.traffic != 0) {
    not_known |= attempt.may_track.traffic;
    unknown.Update(absl::UnavailableError(
        absl::StrCat("exempted packets may be tracked again: ", attempt.may_track.where)));
  }
  const bool lo_lost = LoopbackDrops() != attempt.dropped;
  std::vector<uint16_t*> used_up;  // ports that the next probe is not to have
  for (const Client& client : attempt.clients) {
    if (!client.ready.ok()) used_up.push_back(client.port);
    if (!client.fd) continue;
    const abi::TrafficBits bit = abi::Bit(client.canary->traffic);
    // Other processes can fill queues: what they send shows nothing by itself. But a refusal comes
    // from the kernel.
    const bool lost = lo_lost || LostPackets(client.canary->fd.get()) ||
                      (!client.canary->tcp && LostPackets(client.fd.get()));
    if (client.tracked.empty() && !client.answered &&
        (absl::IsUnavailable(client.connected) ||
         (client.connected.ok() && client.NothingSent()))) {
      not_known |= bit;
      unknown.Update(absl::UnavailableError(
          absl::StrCat("a connect (", client.Text(), ") could not be tested: ",
                       client.connected.ok() ? kNoMemory : client.connected.message())));
      continue;
    }
    // Without its entry, the table exempts only the packets of the client itself.
    if (!client.tracked.empty() || !client.answered) {
      if (const absl::StatusOr<bool> known = table_.Knows(client.flow()); !known.ok() || !*known) {
        not_known |= bit;
        unknown.Update(absl::UnavailableError(
            absl::StrCat("a connect (", client.Text(), ") could not be tested: the nft table inet ",
                         dataplane::kNftTableName,
                         " has no entry of the probe's flow: its set is full, or it was changed")));
        used_up.insert(used_up.end(), {client.port, client.canary->port});
        continue;
      }
    }
    if (!client.tracked.empty()) {
      broken_ |= bit;
      failed.Update(absl::FailedPreconditionError(client.tracked));
      // A packet that meets an entry which is left would not be new.
      used_up.insert(used_up.end(), {client.port, client.canary->port});
    } else if (!client.answered && client.connected.ok() && lost) {
      not_known |= bit;
      unknown.Update(absl::UnavailableError(
          absl::StrCat("a connect (", client.Text(),
                       ") was not answered, but the kernel dropped packets for want of room")));
      used_up.insert(used_up.end(), {client.port, client.canary->port});
    } else if (!client.answered) {
      broken_ |= bit;
      failed.Update(absl::FailedPreconditionError(absl::StrCat(
          "an exempted connect (", client.Text(), ") was ",
          client.connected.ok() ? "not answered" : "refused",
          client.connected.ok() ? "" : absl::StrCat(": ", client.connected.message()))));
    } else if (!attempt.all_seen) {
      not_known |= bit;
      unknown.Update(absl::UnavailableError(
          absl::StrCat("whether conntrack tracks exempted connects is not known: ",
                       attempt.watched.ok() ? "the node makes more connections than can be listed"
                                            : attempt.watched.message())));
    }
  }
  for (uint16_t* const port : used_up) *port = 0;
  tested_ = (abi::AllTraffic() & ~not_known) | broken_;
  failed.Update(unknown);
  return failed;
}

absl::Status SelfProbe::Begin(int cgroup_fd) {
  attempt_ = std::make_unique<Attempt>();
  Attempt& attempt = *attempt_;
  attempt.was_broken = broken_;
  if (++probes_ % kSamePorts == 0) ports_.fill(0);
  broken_ = tested_ = 0;
  NPG_RETURN_IF_ERROR(guard_.CheckLinks(cgroup_fd));
  const absl::StatusOr<std::string> nonce = MakeNonce();
  if (!nonce.ok()) return nonce.status();
  for (size_t i = 0; i < attempt.canaries.size(); ++i) {
    Canary& canary = attempt.canaries.at(i);
    canary.tcp = i % 2 == 0;
    canary.v4 = i < 2;
    canary.traffic = abi::TrafficOf(canary.tcp, canary.v4);
    canary.port = &ports_.at(i);
  }
  const std::array<std::pair<int, size_t>, kClients> connects = {
      {{AF_INET, 0}, {AF_INET6, 0}, {AF_INET, 1}, {AF_INET6, 2}, {AF_INET6, 3}}};
  std::vector<dataplane::CgroupSockets::Kind> kinds;
  for (size_t i = 0; i < attempt.clients.size(); ++i) {
    Client& client = attempt.clients.at(i);
    client.family = connects.at(i).first;
    client.canary = &attempt.canaries.at(connects.at(i).second);
    client.port = &ports_.at(kCanaries + i);
    client.payload = absl::StrCat(*nonce, i);
    kinds.push_back({client.family, client.canary->type()});
  }
  absl::StatusOr<std::unique_ptr<dataplane::CgroupSockets>> sockets =
      dataplane::CgroupSockets::Start(cgroup_fd, std::move(kinds));
  if (!sockets.ok()) return CannotTell(sockets.status());
  attempt.sockets = *std::move(sockets);
  return absl::OkStatus();
}

std::optional<SelfProbe::Result> SelfProbe::GoOn(const core::PortEntries& nodeports,
                                                 absl::Duration until) {
  Attempt& attempt = *attempt_;
  if (attempt.sockets) {
    std::optional<absl::StatusOr<dataplane::CgroupSockets::Made>> made =
        attempt.sockets->Take(std::max(until - SinceBoot(), absl::ZeroDuration()));
    if (!made) return std::nullopt;
    attempt.sockets.reset();
    if (!made->ok()) return made->status();
    for (Canary& canary : attempt.canaries) {
      canary.ready = Listen(nodeports, canary);
      if (canary.ready.ok()) continue;
      canary.fd.Reset();
      *canary.port = 0;
    }
    BindClients(**made, nodeports);
    if (mode_ == abi::Mode::kEnforce) {
      absl::StatusOr<node::ConntrackWatch> watch = node::ConntrackWatch::Start(conntrack_queue_);
      attempt.watched = watch.status();
      if (watch.ok()) {
        attempt.watch.emplace(*std::move(watch));
      } else if (absl::IsUnimplemented(watch.status())) {
        attempt.search.emplace(rules_, node::ObstacleQuery{.tracks = true, .drops = false});
      } else {
        attempt.all_seen = false;
      }
    }
    attempt.dropped = LoopbackDrops();
    attempt.start = SinceBoot();
    if (const absl::Status status = ConnectAll((*made)->entered); !status.ok()) return status;
  }
  if (mode_ != abi::Mode::kEnforce) {
    abi::TrafficBits not_known = 0;
    if (const absl::Status unready = Unready(not_known); !unready.ok()) return unready;
    return SinceBoot() - attempt.start;
  }
  if (!attempt.exchanged) {
    attempt.exchanged = Exchange(until);
    if (!attempt.exchanged) return std::nullopt;
  }
  const absl::Duration latency = SinceBoot() - attempt.start;
  if (!ReadRules(until)) return std::nullopt;
  if (const absl::Status status = Judge(); !status.ok()) return status;
  return latency;
}

std::optional<SelfProbe::Result> SelfProbe::Run(int cgroup_fd, const core::PortEntries& nodeports) {
  const absl::Duration until = SinceBoot() + kTurn;
  absl::Status begun;
  if (!attempt_) begun = Begin(cgroup_fd);
  std::optional<Result> result;
  if (begun.ok()) {
    result = GoOn(nodeports, until);
  } else {
    result.emplace(begun);
  }
  if (result) attempt_.reset();
  return result;
}

}  // namespace npg::controller
