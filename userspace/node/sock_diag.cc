// SPDX-License-Identifier: Apache-2.0
#include "node/sock_diag.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "core/accept_queue.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/mark.h"
#include "core/port.h"
#include "core/port_ranges.h"

namespace npg::node {
namespace {

using Address = std::array<uint8_t, 16>;

// States of a socket are TCP's, for UDP too: ESTABLISHED is connected, CLOSE is not.
constexpr uint32_t StateBit(int state) { return 1U << static_cast<unsigned>(state); }
constexpr uint32_t kAllStates = 0xfff;
// All states except those of closed or unconnected sockets. A half-closed or orphaned
// connection (FIN_WAIT2) still carries packets.
constexpr uint32_t kConnectedStates =
    kAllStates & ~(StateBit(0) | StateBit(TCP_LISTEN) | StateBit(TCP_CLOSE));
// Of a connection that was not accepted: with its handshake done, its client may have closed it,
// but no process on this end can have.
constexpr uint32_t kWaitingStates = StateBit(TCP_ESTABLISHED) | StateBit(TCP_CLOSE_WAIT);
// TIME_WAIT and SYN_RECV have no socket that a mark could have been set on.
constexpr uint32_t kClientStates =
    kConnectedStates & ~(StateBit(TCP_TIME_WAIT) | StateBit(TCP_SYN_RECV));

// The only instruction of a filter program: compare, then jump by `yes` or `no` bytes. A
// jump to the end of the program accepts the socket, a jump beyond it rejects.
struct MarkFilter {
  inet_diag_bc_op op;
  inet_diag_markcond condition;
};
static_assert(sizeof(MarkFilter) == 12);

// Two comparisons of the local port. The number to compare with is the third member of the
// instruction behind it: inet_diag_bc_run() in net/ipv4/inet_diag.c.
struct PortFilter {
  inet_diag_bc_op from;
  inet_diag_bc_op from_port;
  inet_diag_bc_op to;
  inet_diag_bc_op to_port;
};
static_assert(sizeof(PortFilter) == 16);

// At most one of the attributes follows.
struct MarkAttribute {
  nlattr header;
  MarkFilter filter;
};
struct PortAttribute {
  nlattr header;
  PortFilter filter;
};
struct StorageAttribute {
  nlattr header;
  nlattr map_header;
  int32_t map_fd;
};
struct DiagRequest {
  nlmsghdr header;
  inet_diag_req_v2 diag;
  union {
    MarkAttribute mark;
    PortAttribute ports;
    StorageAttribute storage;
  };
};
static_assert(offsetof(DiagRequest, mark) == NLMSG_ALIGN(offsetof(DiagRequest, mark)));

// A socket as the kernel lists it.
struct Socket {
  inet_diag_msg message;
  std::optional<bool> v6only;
  uint64_t cgroup_id = 0;
  absl::string_view storage;  // empty: none
};

// The sockets to list. At most one of `mark`, `storage` and `local_ports` may be set.
struct Query {
  int family = AF_INET;
  int protocol = IPPROTO_TCP;
  uint32_t states = 0;
  const core::Mark* mark = nullptr;
  const SocketStorage* storage = nullptr;
  const core::PortRange* local_ports = nullptr;
};

PortFilter ToFilter(const core::PortRange& ports) {
  constexpr uint8_t kNext = 2 * sizeof(inet_diag_bc_op);
  constexpr uint16_t kBeyond = sizeof(PortFilter) + sizeof(inet_diag_bc_op);
  PortFilter filter{};
  filter.from.code = INET_DIAG_BC_S_GE;
  filter.from.yes = kNext;
  filter.from.no = kBeyond;
  filter.from_port.no = ports.first;
  filter.to.code = INET_DIAG_BC_S_LE;
  filter.to.yes = kNext;
  filter.to.no = kBeyond - kNext;
  filter.to_port.no = ports.last;
  return filter;
}

DiagRequest ToRequest(const Query& query) {
  DiagRequest request{};
  request.header.nlmsg_len = offsetof(DiagRequest, mark);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.diag.sdiag_family = static_cast<uint8_t>(query.family);
  request.diag.sdiag_protocol = static_cast<uint8_t>(query.protocol);
  request.diag.idiag_states = query.states;
  if (query.mark != nullptr) {
    MarkAttribute& mark = request.mark;
    request.header.nlmsg_len += sizeof(mark);
    mark.header = {sizeof(mark), INET_DIAG_REQ_BYTECODE};
    mark.filter.op.code = INET_DIAG_BC_MARK_COND;
    mark.filter.op.yes = sizeof(mark.filter);
    mark.filter.op.no = sizeof(mark.filter) + sizeof(inet_diag_bc_op);
    mark.filter.condition = {query.mark->value, query.mark->mask};
  } else if (query.local_ports != nullptr) {
    request.header.nlmsg_len += sizeof(request.ports);
    request.ports.header = {sizeof(request.ports), INET_DIAG_REQ_BYTECODE};
    request.ports.filter = ToFilter(*query.local_ports);
  } else if (query.storage != nullptr) {
    StorageAttribute& storage = request.storage;
    request.header.nlmsg_len += sizeof(storage);
    storage.header = {sizeof(storage), INET_DIAG_REQ_SK_BPF_STORAGES};
    storage.map_header = {sizeof(nlattr) + sizeof(int32_t), SK_DIAG_BPF_STORAGE_REQ_MAP_FD};
    storage.map_fd = query.storage->map_fd;
  }
  return request;
}

// The value of the only storage that was requested.
absl::string_view StorageOf(absl::string_view attributes) {
  const absl::string_view storages = base::FindAttribute(attributes, INET_DIAG_SK_BPF_STORAGES);
  const absl::string_view storage = base::FindAttribute(storages, SK_DIAG_BPF_STORAGE);
  return base::FindAttribute(storage, SK_DIAG_BPF_STORAGE_MAP_VALUE);
}

// Calls `start`, then `visit` for each socket; repeats both when the request is repeated.
absl::Status List(base::NetlinkSocket& netlink, const Query& query, absl::FunctionRef<void()> start,
                  absl::FunctionRef<void(const Socket&)> visit) {
  const bool tcp = query.protocol == IPPROTO_TCP;
  const auto read = [&visit](const nlmsghdr& message) {
    const absl::string_view payload = base::ViewOf(message).payload;
    const auto header = base::HeaderOf<inet_diag_msg>(payload);
    if (message.nlmsg_type != SOCK_DIAG_BY_FAMILY || !header) return;
    const absl::string_view attributes = base::AttributesBehind<inet_diag_msg>(payload);
    Socket socket{*header, std::nullopt, 0, StorageOf(attributes)};
    const absl::string_view v6only = base::FindAttribute(attributes, INET_DIAG_SKV6ONLY);
    if (!v6only.empty()) socket.v6only = v6only.front() != 0;
    socket.cgroup_id =
        base::ValueOf<uint64_t>(base::FindAttribute(attributes, INET_DIAG_CGROUP_ID)).value_or(0);
    visit(socket);
  };
  DiagRequest request = ToRequest(query);
  absl::Status status = netlink.AskForEach(
      request.header, absl::StrCat("list ", tcp ? "TCP" : "UDP", " sockets"), start, read);
  if (absl::IsNotFound(status)) {
    return absl::UnimplementedError(absl::StrCat(status.message(), "; this kernel lacks module ",
                                                 tcp ? "tcp_diag" : "udp_diag"));
  }
  return status;
}

// The kernel already lists the addresses of an IPv6 socket with IPv4 traffic v4-mapped; a
// bound, unconnected socket has the address of its bind().
Address ToAddress(uint8_t family, const uint32_t* words) {
  Address address{};
  if (family == AF_INET6) {
    std::memcpy(address.data(), words, address.size());
    return address;
  }
  address[10] = address[11] = 0xff;
  std::memcpy(&address[12], words, sizeof(*words));
  return address;
}

core::Flow ToFlow(const Socket& socket, int protocol) {
  const inet_diag_msg& message = socket.message;
  core::Flow flow;
  flow.protocol = static_cast<uint8_t>(protocol);
  flow.client_address = ToAddress(message.idiag_family, message.id.idiag_src);
  flow.server_address = ToAddress(message.idiag_family, message.id.idiag_dst);
  flow.client_port = ntohs(message.id.idiag_sport);
  flow.server_port = ntohs(message.id.idiag_dport);
  return flow;
}

// Without an inode: accept() gives the socket its file (sock_graft()). Those whose file was closed
// have none either, but are in other states than these.
std::optional<core::WaitingConnection> ToWaiting(const Socket& socket) {
  const inet_diag_msg& message = socket.message;
  if (message.idiag_inode != 0) return std::nullopt;
  core::WaitingConnection waiting;
  waiting.port = ntohs(message.id.idiag_sport);
  waiting.address = ToAddress(message.idiag_family, message.id.idiag_src);
  // sock_diag_save_cookie(): the lower half first.
  waiting.cookie = message.id.idiag_cookie[0] | (uint64_t{message.id.idiag_cookie[1]} << 32U);
  return waiting;
}

core::Listener ToListener(const Socket& socket, const core::PortKey& key) {
  const inet_diag_msg& message = socket.message;
  core::Listener listener;
  listener.key = key;
  listener.address = ToAddress(message.idiag_family, message.id.idiag_src);
  listener.v6only = message.idiag_family == AF_INET6 && socket.v6only.value_or(false);
  listener.ifindex = message.id.idiag_if;
  listener.uid = message.idiag_uid;
  listener.inode = message.idiag_inode;
  listener.cgroup_id = socket.cgroup_id;
  if (key.protocol == core::Protocol::kTcp) {
    // Of a socket in LISTEN: tcp_diag_get_info() in net/ipv4/tcp_diag.c.
    listener.accept_queue = message.idiag_rqueue;
    listener.accept_limit = message.idiag_wqueue;
  }
  return listener;
}

// A pseudo-state of sock_diag since Linux 6.8 (91051f003948): bound, neither listening nor
// connected. Earlier kernels list no socket for it.
constexpr int kBoundInactive = 13;

constexpr std::array<int, 2> kFamilies{AF_INET, AF_INET6};
constexpr std::array<int, 2> kProtocols{IPPROTO_TCP, IPPROTO_UDP};

// No TCP sockets if `tcp_states` is 0. Sorted, each once.
absl::StatusOr<std::vector<core::Flow>> ListFlows(
    uint32_t tcp_states, const core::Mark* mark,
    absl::FunctionRef<bool(const core::Flow&)> wanted) {
  auto netlink = base::NetlinkSocket::Open(NETLINK_SOCK_DIAG);
  if (!netlink.ok()) return netlink.status();
  std::vector<core::Flow> flows;
  for (const int family : kFamilies) {
    for (const int protocol : kProtocols) {
      const uint32_t states = protocol == IPPROTO_TCP ? tcp_states : StateBit(TCP_ESTABLISHED);
      if (states == 0) continue;
      const size_t before = flows.size();
      NPG_RETURN_IF_ERROR(List(
          *netlink, {family, protocol, states, mark, nullptr, nullptr},
          [&] { flows.resize(before); },
          [&](const Socket& socket) {
            const core::Flow flow = ToFlow(socket, protocol);
            if (wanted(flow)) flows.push_back(flow);
          }));
    }
  }
  std::sort(flows.begin(), flows.end());
  flows.erase(std::unique(flows.begin(), flows.end()), flows.end());
  return flows;
}

using Wanted = absl::FunctionRef<bool(const core::PortKey&)>;

bool All(const core::PortKey& /*key*/) { return true; }

// Adds the sockets of one family.
absl::Status ListBound(base::NetlinkSocket& netlink, int family, core::Protocol protocol,
                       uint32_t states, Wanted wanted, const SocketStorage* storage,
                       KeepListener keep, ListenersOn& found) {
  const size_t listeners = found.listeners.size();
  const size_t all = found.all;
  const Query query = {family,  protocol == core::Protocol::kTcp ? IPPROTO_TCP : IPPROTO_UDP,
                       states,  nullptr,
                       storage, nullptr};
  return List(
      netlink, query,
      [&] {
        found.listeners.resize(listeners);
        found.all = all;
      },
      [&](const Socket& socket) {
        const inet_diag_sockid& id = socket.message.id;
        // The list of UDP includes sockets without a local port.
        if (id.idiag_sport == 0 || id.idiag_dport != 0) return;
        ++found.all;
        const core::PortKey key = {ntohs(id.idiag_sport), protocol};
        if (!wanted(key)) return;
        core::Listener listener = ToListener(socket, key);
        if (!socket.storage.empty()) storage->read(socket.storage, listener);
        if (keep(listener)) found.listeners.push_back(std::move(listener));
      });
}

absl::Status ListUdp(base::NetlinkSocket& netlink, Wanted wanted, const SocketStorage* storage,
                     KeepListener keep, ListenersOn& found) {
  for (const int family : kFamilies) {
    NPG_RETURN_IF_ERROR(ListBound(netlink, family, core::Protocol::kUdp, StateBit(TCP_CLOSE),
                                  wanted, storage, keep, found));
  }
  return absl::OkStatus();
}

// TCP's list has an MPTCP listener as its first subflow, with the inode of the process's socket;
// MPTCP's own list would repeat it.
absl::Status ListTcp(base::NetlinkSocket& netlink, Wanted wanted, const SocketStorage* storage,
                     KeepListener keep, ListenersOn& found) {
  for (const int family : kFamilies) {
    NPG_RETURN_IF_ERROR(ListBound(netlink, family, core::Protocol::kTcp, StateBit(TCP_LISTEN),
                                  wanted, storage, keep, found));
  }
  return absl::OkStatus();
}

void Sort(std::vector<core::Listener>& listeners) {
  std::sort(listeners.begin(), listeners.end(),
            [](const core::Listener& a, const core::Listener& b) {
              return std::tie(a.key, a.address, a.ifindex, a.inode) <
                     std::tie(b.key, b.address, b.ifindex, b.inode);
            });
}

}  // namespace

absl::StatusOr<ListenersOn> ListListenersOn(Wanted wanted, const SocketStorage* storage,
                                            KeepListener keep) {
  auto netlink = base::NetlinkSocket::Open(NETLINK_SOCK_DIAG);
  if (!netlink.ok()) return netlink.status();
  ListenersOn found;
  NPG_RETURN_IF_ERROR(ListUdp(*netlink, wanted, storage, keep, found));
  NPG_RETURN_IF_ERROR(ListTcp(*netlink, wanted, storage, keep, found));
  Sort(found.listeners);
  return found;
}

absl::StatusOr<std::vector<core::Listener>> ListListeners(const SocketStorage* storage) {
  absl::StatusOr<ListenersOn> found = ListListenersOn(All, storage);
  if (!found.ok()) return found.status();
  return std::move(found->listeners);
}

absl::StatusOr<ListenersOn> ListUdpListenersOn(Wanted wanted, const SocketStorage* storage) {
  auto netlink = base::NetlinkSocket::Open(NETLINK_SOCK_DIAG);
  if (!netlink.ok()) return netlink.status();
  ListenersOn found;
  NPG_RETURN_IF_ERROR(ListUdp(*netlink, wanted, storage, KeepAny, found));
  Sort(found.listeners);
  return found;
}

absl::StatusOr<ListenersOn> ListTcpListenersOn(Wanted wanted, const SocketStorage* storage,
                                               KeepListener keep) {
  auto netlink = base::NetlinkSocket::Open(NETLINK_SOCK_DIAG);
  if (!netlink.ok()) return netlink.status();
  ListenersOn found;
  NPG_RETURN_IF_ERROR(ListTcp(*netlink, wanted, storage, keep, found));
  Sort(found.listeners);
  return found;
}

absl::StatusOr<ListenersOn> ListIdleTcpOn(Wanted wanted, const SocketStorage* storage) {
  auto netlink = base::NetlinkSocket::Open(NETLINK_SOCK_DIAG);
  if (!netlink.ok()) return netlink.status();
  ListenersOn found;
  for (const int family : kFamilies) {
    NPG_RETURN_IF_ERROR(ListBound(*netlink, family, core::Protocol::kTcp, StateBit(kBoundInactive),
                                  wanted, storage, KeepAny, found));
  }
  Sort(found.listeners);
  return found;
}

absl::StatusOr<std::vector<core::WaitingConnection>> ListWaitingConnections(
    const core::WaitingQuery& query) {
  std::vector<core::WaitingConnection> found;
  if (query.ports.empty()) return found;
  auto netlink = base::NetlinkSocket::Open(NETLINK_SOCK_DIAG);
  if (!netlink.ok()) return netlink.status();
  const core::PortRange ports = {*query.ports.begin(), *query.ports.rbegin()};
  absl::flat_hash_map<uint16_t, size_t> before;
  for (const int family : kFamilies) {
    const size_t size = found.size();
    absl::flat_hash_map<uint16_t, size_t> counts;
    NPG_RETURN_IF_ERROR(List(
        *netlink, {family, IPPROTO_TCP, kWaitingStates, nullptr, nullptr, &ports},
        [&] {
          found.resize(size);
          counts = before;
        },
        [&](const Socket& socket) {
          const std::optional<core::WaitingConnection> waiting = ToWaiting(socket);
          if (!waiting || !query.ports.contains(waiting->port)) return;
          const bool room = counts[waiting->port] < core::WaitingQuery::kMaxOfPort;
          if (!room && !query.cookies.contains(waiting->cookie)) return;
          ++counts[waiting->port];
          found.push_back(*waiting);
        }));
    before = std::move(counts);
  }
  return found;
}

absl::StatusOr<std::vector<core::Flow>> ListMarkedFlows(core::Mark mark,
                                                        const core::AddressSet& own) {
  // The kernel compares the marks: it returns few sockets, and EPERM to a process that
  // may not see marks, even when no socket has one.
  return ListFlows(kClientStates, &mark, [&own](const core::Flow& flow) {
    return core::IsLoopback(flow.server_address) || own.contains(flow.server_address);
  });
}

absl::StatusOr<std::vector<core::Flow>> ListExemptFlows(core::Mark mark,
                                                        const core::DatagramTargets& targets,
                                                        const core::AddressSet& own) {
  absl::StatusOr<std::vector<core::Flow>> marked = ListMarkedFlows(mark, own);
  if (!marked.ok() || targets.empty()) return marked;
  const absl::StatusOr<std::vector<core::Flow>> others =
      ListFlows(/*tcp_states=*/0, nullptr, [&targets](const core::Flow& flow) {
        return targets.Contains(flow.server_address, flow.server_port);
      });
  if (!others.ok()) return others.status();
  std::vector<core::Flow> all;
  std::set_union(marked->begin(), marked->end(), others->begin(), others->end(),
                 std::back_inserter(all));
  return all;
}

absl::StatusOr<std::vector<core::Flow>> ListLocalFlows(const core::AddressSet& own) {
  return ListFlows(kConnectedStates, nullptr, [&own](const core::Flow& flow) {
    // Both ends must be own addresses: a connection to another node has one, too.
    return core::IsLoopback(flow.server_address) || core::IsLoopback(flow.client_address) ||
           (own.contains(flow.server_address) && own.contains(flow.client_address));
  });
}

}  // namespace npg::node
