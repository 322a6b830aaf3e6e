// SPDX-License-Identifier: Apache-2.0
#include "integration/rules/random_connects.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/port.h"
#include "integration/rules/random_rules.h"
#include "rules/connect.h"
#include "testing/command.h"

namespace npg::rules::random_rules {
namespace {

// No source port repeats within a namespace, so that conntrack never takes a connect for an older
// one, and the source port says of which connect a packet is.
constexpr uint16_t kFirstSource = 41000;
// Shorter than the second after which a lost SYN is sent again.
constexpr absl::Duration kTcpDeadline = absl::Milliseconds(150);

// Notes packets as source port . destination port . destination address: behind DNAT, which is at
// priority -100, and behind all other chains of the input hook.
constexpr char kProbe[] = R"(table inet npg_probe {
  set out4 { type inet_service . inet_service . ipv4_addr; flags dynamic; size 65535; }
  set out6 { type inet_service . inet_service . ipv6_addr; flags dynamic; size 65535; }
  set in4 { type inet_service . inet_service . ipv4_addr; flags dynamic; size 65535; }
  set in6 { type inet_service . inet_service . ipv6_addr; flags dynamic; size 65535; }
  chain untrack {
    type filter hook output priority -400;
  }
  chain behind_dnat {
    type filter hook output priority -88;
    tcp flags & (syn | ack) == syn add @out4 { th sport . th dport . ip daddr }
    tcp flags & (syn | ack) == syn add @out6 { th sport . th dport . ip6 daddr }
    meta l4proto udp add @out4 { th sport . th dport . ip daddr }
    meta l4proto udp add @out6 { th sport . th dport . ip6 daddr }
  }
  chain arrived {
    type filter hook input priority 2000;
    tcp flags & (syn | ack) == syn add @in4 { th sport . th dport . ip daddr }
    tcp flags & (syn | ack) == syn add @in6 { th sport . th dport . ip6 daddr }
    meta l4proto udp add @in4 { th sport . th dport . ip daddr }
    meta l4proto udp add @in6 { th sport . th dport . ip6 daddr }
  }
}
)";

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const {
    return reinterpret_cast<const sockaddr*>(&storage);  // NOLINT: as the sockets API wants it
  }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }  // NOLINT: the same
};

// `text` empty: any address.
SocketAddress SocketAddressOf(bool ipv6, const std::string& text, uint16_t port) {
  SocketAddress result;
  if (ipv6) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    if (!text.empty()) inet_pton(AF_INET6, text.c_str(), &address.sin6_addr);
    result.size = sizeof(address);
    std::memcpy(&result.storage, &address, sizeof(address));
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (!text.empty()) inet_pton(AF_INET, text.c_str(), &address.sin_addr);
    result.size = sizeof(address);
    std::memcpy(&result.storage, &address, sizeof(address));
  }
  return result;
}

bool IsIpv6(const std::string& address) { return absl::StrContains(address, ':'); }

absl::StatusOr<base::UniqueFd> BoundSocket(bool ipv6, core::Protocol protocol, uint16_t port,
                                           bool only_ipv6) {
  const int type = protocol == core::Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
  base::UniqueFd fd(socket(ipv6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return base::ErrnoStatus(errno, "socket");
  const int only = only_ipv6 ? 1 : 0;
  if (ipv6 && setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) != 0) {
    return base::ErrnoStatus(errno, "IPV6_V6ONLY");
  }
  const SocketAddress any = SocketAddressOf(ipv6, "", port);
  if (bind(fd.get(), any.get(), any.size) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("bind to port ", port));
  }
  return fd;
}

// A reset at close(), so that a connection leaves nothing behind that is sent later.
void ResetAtClose(const base::UniqueFd& fd) {
  const linger now{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

struct Seen {
  uint16_t port = 0;
  std::string address;
};
using SeenBySource = std::map<uint16_t, Seen>;

// From "41000 . 30001 . 127.0.0.1" in the text of a set.
std::optional<std::pair<uint16_t, Seen>> ParseSeen(absl::string_view element) {
  const std::vector<std::string> parts = absl::StrSplit(element, " . ");
  uint32_t source = 0;
  uint32_t port = 0;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &source) ||
      !absl::SimpleAtoi(parts[1], &port)) {
    return std::nullopt;
  }
  return std::pair(static_cast<uint16_t>(source), Seen{static_cast<uint16_t>(port), parts[2]});
}

// The elements of both sets `name`4 and `name`6 in the text of the table.
SeenBySource SeenIn(absl::string_view table, absl::string_view name) {
  SeenBySource seen;
  for (const char* family : {"4", "6"}) {
    const size_t start = table.find(absl::StrCat("set ", name, family, " {"));
    if (start == absl::string_view::npos) continue;
    const absl::string_view set = table.substr(start, table.find("\t}", start) - start);
    const size_t elements = set.find("elements = {");
    if (elements == absl::string_view::npos) continue;
    for (const absl::string_view element : absl::StrSplit(
             set.substr(elements + 12), absl::ByAnyChar(",}\n\t"), absl::SkipWhitespace())) {
      const auto parsed = ParseSeen(absl::StripAsciiWhitespace(element));
      if (parsed.has_value()) seen.insert(*parsed);
    }
  }
  return seen;
}

absl::Status Prepare() {
  if (unshare(CLONE_NEWNET) != 0) return base::ErrnoStatus(errno, "unshare(CLONE_NEWNET)");
  std::string commands = "link set lo up\n";
  for (const bool ipv6 : {false, true}) {
    for (const char* address : {AddressesOf(ipv6).node, AddressesOf(ipv6).pod}) {
      absl::StrAppend(&commands, "address add ", address, ipv6 ? "/128 nodad" : "/32", " dev lo\n");
    }
  }
  absl::Status status = testing::RunCommand({"ip", "-batch", "-"}, commands).status();
  if (status.ok()) {
    status = testing::RunCommand({"sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1"}).status();
  }
  if (status.ok()) status = testing::RunCommand({"nft", "-f", "-"}, kProbe).status();
  return status;
}

// Waits until each of `fds` is connected or refused, or the deadline has passed.
void WaitForTcp(std::vector<pollfd> fds) {
  const absl::Time deadline = absl::Now() + kTcpDeadline;
  while (!fds.empty()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return;
    const int timeout = static_cast<int>(absl::ToInt64Milliseconds(left)) + 1;
    if (poll(fds.data(), fds.size(), timeout) <= 0) return;
    std::erase_if(fds, [](const pollfd& fd) { return fd.revents != 0; });
  }
}

Fate FateOf(const Target& target, const Seen* out, const Seen* in) {
  Fate fate;
  fate.arrived = in != nullptr;
  if (out == nullptr) return fate;
  const bool other_address = AddressOf(out->address) != AddressOf(target.address);
  const bool pod = out->address == AddressesOf(IsIpv6(target.address)).pod;
  fate.redirected = out->port != target.port || (other_address && pod);
  fate.readdressed = other_address && !fate.redirected;
  return fate;
}

}  // namespace

// A connect under way.
struct ConnectLab::Attempt {
  base::UniqueFd fd;
  uint16_t source = 0;
};

std::array<uint8_t, 16> AddressOf(const std::string& text) {
  std::array<uint8_t, 16> address{};
  if (IsIpv6(text)) {
    inet_pton(AF_INET6, text.c_str(), address.data());
  } else {
    address[10] = address[11] = 0xff;
    inet_pton(AF_INET, text.c_str(), &address[12]);
  }
  return address;
}

Connect ConnectOf(const Target& target) {
  return {.protocol = target.protocol, .address = AddressOf(target.address)};
}

std::string ToText(const Target& target) {
  return absl::StrCat("connect to ", target.address, " port ",
                      core::ToString(core::PortKey{target.port, target.protocol}));
}

absl::StatusOr<ConnectLab> ConnectLab::Enter() {
  const absl::Status prepared = Prepare();
  if (!prepared.ok()) return prepared;
  Listeners listeners;
  std::vector<uint16_t> ports = Pool();
  ports.insert(ports.end(), PodPorts().begin(), PodPorts().end());
  for (const uint16_t port : ports) {
    for (const core::Protocol protocol : {core::Protocol::kTcp, core::Protocol::kUdp}) {
      auto fd = BoundSocket(true, protocol, port, false);
      if (!fd.ok()) return fd.status();
      if (protocol == core::Protocol::kTcp && listen(fd->get(), 4096) != 0) {
        return base::ErrnoStatus(errno, "listen");
      }
      const int number = fd->get();
      listeners.emplace(number, std::pair(*std::move(fd), core::PortKey{port, protocol}));
    }
  }
  ConnectLab lab(std::move(listeners));
  lab.next_source_ = kFirstSource;
  return lab;
}

absl::StatusOr<ConnectLab::Attempt> ConnectLab::Start(const Target& target) {
  const bool ipv6 = IsIpv6(target.address);
  if (next_source_ == 65535) return absl::ResourceExhaustedError("no source port is left");
  Attempt attempt;
  attempt.source = next_source_++;
  auto fd = BoundSocket(ipv6, target.protocol, attempt.source, true);
  if (!fd.ok()) return fd.status();
  attempt.fd = *std::move(fd);
  const SocketAddress to = SocketAddressOf(ipv6, target.address, target.port);
  // Errors are the rules' doing: the probe shows what became of the packet.
  static_cast<void>(connect(attempt.fd.get(), to.get(), to.size));
  if (target.protocol == core::Protocol::kUdp) {
    static_cast<void>(send(attempt.fd.get(), "?", 1, MSG_NOSIGNAL));
  } else {
    ResetAtClose(attempt.fd);
  }
  return attempt;
}

// The listeners' ports by the source ports of what they received.
absl::StatusOr<std::map<uint16_t, uint16_t>> ConnectLab::Received() {
  std::map<uint16_t, uint16_t> received;
  for (const auto& [number, listener] : listeners_) {
    const core::PortKey key = listener.second;
    // Each turn takes one connection or datagram of those that wait.
    for (bool more = true; more;) {
      SocketAddress from;
      from.size = sizeof(from.storage);
      if (key.protocol == core::Protocol::kTcp) {
        const base::UniqueFd connection(accept4(number, from.get(), &from.size, SOCK_CLOEXEC));
        more = static_cast<bool>(connection);
        if (more) ResetAtClose(connection);
      } else {
        char byte = 0;
        more = recvfrom(number, &byte, 1, 0, from.get(), &from.size) >= 0;
      }
      if (!more && errno != EAGAIN) return base::ErrnoStatus(errno, "a listener");
      sockaddr_in6 peer{};
      std::memcpy(&peer, &from.storage, sizeof(peer));
      if (more) received[ntohs(peer.sin6_port)] = key.port;
    }
  }
  return received;
}

absl::StatusOr<std::map<Target, Fate>> ConnectLab::Connect(const std::vector<Target>& targets,
                                                           bool tracked) {
  const std::string rule = absl::StrCat("flush chain inet ", kProbeTable, " untrack\n",
                                        tracked ? "" : "add rule inet npg_probe untrack notrack\n");
  auto output = testing::RunCommand({"nft", "-f", "-"}, rule);
  if (!output.ok()) return output.status();
  std::vector<Attempt> attempts;
  std::vector<pollfd> waits;
  for (const Target& target : targets) {
    auto attempt = Start(target);
    if (!attempt.ok()) return attempt.status();
    if (target.protocol == core::Protocol::kTcp) {
      waits.push_back({.fd = attempt->fd.get(), .events = POLLOUT, .revents = 0});
    }
    attempts.push_back(*std::move(attempt));
  }
  WaitForTcp(std::move(waits));
  const auto received = Received();
  if (!received.ok()) return received.status();
  output = testing::RunCommand({"nft", "-nn", "list", "table", "inet", kProbeTable});
  if (!output.ok()) return output.status();
  const SeenBySource out = SeenIn(*output, "out");
  const SeenBySource in = SeenIn(*output, "in");
  std::map<Target, Fate> fates;
  for (size_t i = 0; i < targets.size(); ++i) {
    const uint16_t source = attempts[i].source;
    const auto find = [source](const SeenBySource& seen) {
      const auto found = seen.find(source);
      return found == seen.end() ? nullptr : &found->second;
    };
    const Seen* arrived = find(in);
    const auto port = received->find(source);
    // A handshake may fail on its way back: only what a listener got must have arrived.
    const bool got = port != received->end();
    const bool udp = targets[i].protocol == core::Protocol::kUdp;
    if ((got && (arrived == nullptr || arrived->port != port->second)) ||
        (udp && !got && arrived != nullptr)) {
      return absl::InternalError(absl::StrCat(
          "the probe and the listeners disagree: ", ToText(targets[i]), " from port ", source));
    }
    fates[targets[i]] = FateOf(targets[i], find(out), arrived);
  }
  return fates;
}

}  // namespace npg::rules::random_rules
