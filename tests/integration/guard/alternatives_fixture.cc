// SPDX-License-Identifier: Apache-2.0
#include "integration/guard/alternatives_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/alternatives.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_maps.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/syn_retry.h"
#include "testing/test_node.h"
#include "testing/testdata.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing {
namespace {

// The NodePorts that the kernel assigns where the ranges overlap.
constexpr uint16_t kFirstShared = 32764, kLastShared = 32767;
constexpr const char* kLocalRange = "net/ipv4/ip_local_port_range";
constexpr const char* kReservedSysctl = "net/ipv4/ip_local_reserved_ports";

// What the guard is started with; empty: there is none.
std::vector<std::string> GuardArguments(Way way) {
  switch (way) {
    case Way::kGuard:
      return {"--scope", "loopback"};
    case Way::kGuardScopeLocal:
      return {"--scope", "local"};
    case Way::kReservePorts:
      return {"--reserve-ports", "allocated"};
    case Way::kBindProtection:
      return {"--bind-protection", "deny"};
    default:
      return {};
  }
}

bool ReservesAllocated(Way way) { return way == Way::kReservePorts || way == Way::kBindProtection; }

// Whether the kernel assigns no NodePort, also before there is a Service.
bool AssignsNone(Way way) { return way == Way::kRangesApart || way == Way::kStaticReservation; }

// The ports that the kernel assigns: few, so that all can be tried, or enough for clients.
std::string LocalRange(Way way, bool few) {
  const int first = way == Way::kRangesApart ? kLastShared + 1 : kFirstShared;
  return absl::StrCat(first, " ", few ? kLastShared + 4 : 60999);
}

// ALREADY_EXISTS for EADDRINUSE.
absl::StatusOr<base::UniqueFd> BoundSocket(const std::string& address, uint16_t port,
                                           Transport transport) {
  const auto to = MakeAddress(address, port);
  if (!to.ok()) return to.status();
  auto fd = OpenSocket(AF_INET, transport);
  if (!fd.ok()) return fd.status();
  if (bind(fd->get(), to->get(), to->size) == 0) return fd;
  if (errno == EADDRINUSE) return absl::AlreadyExistsError("bind: EADDRINUSE");
  return base::ErrnoStatus(errno, "bind");
}

// A socket whose port the kernel assigned, a NodePort; nullopt if it assigns none of them, which
// all ports of the range have shown.
absl::StatusOr<std::optional<base::UniqueFd>> BindAssigned(Way way, const std::string& address,
                                                           Transport transport) {
  NPG_RETURN_IF_ERROR(SetSysctl(kLocalRange, LocalRange(way, true)));
  std::vector<base::UniqueFd> others;
  absl::StatusOr<base::UniqueFd> fd = BoundSocket(address, 0, transport);
  while (fd.ok() && LocalPort(fd->get()) > kLastShared) {
    others.push_back(*std::move(fd));
    fd = BoundSocket(address, 0, transport);
  }
  NPG_RETURN_IF_ERROR(SetSysctl(kLocalRange, LocalRange(way, false)));
  if (fd.ok()) return std::optional(*std::move(fd));
  if (!absl::IsAlreadyExists(fd.status())) return fd.status();
  if (others.empty()) return absl::InternalError("the kernel assigns no port at all");
  return std::nullopt;
}

// kube-proxy's rules without NodePorts on loopback (--iptables-localhost-nodeports=false): the last
// rule of KUBE-SERVICES, here the only one, leaves 127.0.0.0/8 out.
absl::Status LeaveLoopbackOut() {
  const auto flushed = RunCommand({"iptables-nft", "-t", "nat", "-F", "KUBE-SERVICES"});
  if (!flushed.ok()) return flushed.status();
  return RunCommand({"iptables-nft", "-t", "nat", "-A", "KUBE-SERVICES", "-m", "addrtype",
                     "--dst-type", "LOCAL", "!", "-d", "127.0.0.0/8", "-j", "KUBE-NODEPORTS"})
      .status();
}

// The dump of kube-proxy's nftables mode with these NodePorts on `address`. Its Service takes UDP,
// too.
absl::Status ApplyNftablesDump(const std::string& address, const std::vector<NodePort>& nodeports) {
  const std::string rule =
      "meta l4proto tcp dnat ip to numgen random mod 1 map { 0 : 10.244.1.2 . 8080 }";
  const std::string served = "tcp . 34567 : goto external-SUSTUHLJ-default/web/tcp/http";
  const std::string rejected = "tcp . 31234 comment \"default/t1:80-8080\" : goto reject-chain";
  std::vector<std::string> taken = {served}, refused = {rejected};
  for (const NodePort& nodeport : nodeports) {
    const std::string key =
        absl::StrCat(nodeport.transport == Transport::kUdp ? "udp" : "tcp", " . ", nodeport.port);
    if (nodeport.endpoint) {
      taken.push_back(key + " : goto external-SUSTUHLJ-default/web/tcp/http");
    } else {
      refused.push_back(key + " : goto reject-chain");
    }
  }
  return RunCommand(
             {"nft", "-f", "-"},
             absl::StrReplaceAll(
                 ReadTestdata("kube-proxy-1.36-nftables.nft"),
                 {{served, absl::StrJoin(taken, ",\n")},
                  {rejected, absl::StrJoin(refused, ",\n")},
                  {"elements = { 10.99.0.2 }", absl::StrCat("elements = { ", address, " }")},
                  {rule, absl::StrCat(rule, "\n", absl::StrReplaceAll(rule, {{"tcp", "udp"}}))}}))
      .status();
}

}  // namespace

void PrintTo(const Alternative& alternative, std::ostream* out) { *out << alternative.name; }

void AlternativesTest::SetUp() {
  prctl(PR_SET_NAME, "alternative");  // no exception of bind protection
  NPG_ASSERT_OK_AND_ASSIGN(node_, TestNode::Create());
  NPG_ASSERT_OK(RetrySynSoon(node_->cgroup().path()));
  NPG_ASSERT_OK(SetSysctl(kLocalRange, LocalRange(way(), false)));
  if (way() == Way::kStaticReservation) {
    NPG_ASSERT_OK(SetSysctl(kReservedSysctl, "30000-32767"));
  }
  std::vector<std::string> arguments = GuardArguments(way());
  if (arguments.empty()) return;
  arguments.insert(arguments.end(), {"--source", "file", "--nodeports-file", PortsFile()});
  NPG_ASSERT_OK(WriteNodePortsFile(PortsFile(), {}));
  auto started = GuardProcess::Start(*node_, arguments);
  ASSERT_PRED_FORMAT1(IsOk, started);
  guard_.emplace(*std::move(started));
}

absl::Status AlternativesTest::Allocate(bool endpoint) {
  std::vector<uint16_t> ports = {kGivenPort, kOtherNodePort};
  for (uint16_t port = kFirstShared; port <= kLastShared; ++port) ports.push_back(port);
  const std::vector<NodePort> nodeports = TcpAndUdp(ports, endpoint);
  if (way() == Way::kNftablesMode) return ApplyNftablesDump(kNodeAddress, nodeports);
  const KubeProxyRules rules(IptablesVariant::kNft, TestNode::kPod, TestNode::kPodPort);
  NPG_RETURN_IF_ERROR(rules.Apply(nodeports));
  if (way() == Way::kNoLocalhostNodePorts) return LeaveLoopbackOut();
  if (!guard_) return absl::OkStatus();
  NPG_RETURN_IF_ERROR(WriteNodePortsFile(PortsFile(), nodeports));
  if (WaitUntil(kPatience, [&] { return GuardHas(nodeports); })) return absl::OkStatus();
  return absl::DeadlineExceededError("the guard did not follow its file: " + guard_->Log());
}

bool AlternativesTest::GuardHas(const std::vector<NodePort>& nodeports) const {
  const GuardMaps maps(node_->bpffs());
  const bool known =
      std::all_of(nodeports.begin(), nodeports.end(), [&maps](const NodePort& nodeport) {
        const auto entry = maps.NodePort(nodeport.port, nodeport.transport);
        return entry.ok() && entry->has_value();
      });
  if (!known || !ReservesAllocated(way())) return known;
  std::ifstream file(absl::StrCat("/proc/sys/", kReservedSysctl));
  const std::string reserved{std::istreambuf_iterator<char>(file), {}};
  if (!absl::StrContains(reserved, absl::StrCat(kFirstShared, "-", kLastShared))) return false;
  if (way() != Way::kBindProtection) return true;
  const auto refusable = maps.Refusable(kGivenPort, Transport::kTcp);
  return refusable.ok() && refusable->has_value();
}

Helps AlternativesTest::ListenFirst(const std::string& bound, const std::string& address,
                                    Transport transport, bool endpoint) {
  Sockets sockets;
  Bind(bound, transport, AssignsNone(way()), sockets);
  EXPECT_TRUE(sockets.given);
  EXPECT_PRED_FORMAT1(IsOk, Allocate(endpoint));
  return Judge(std::move(sockets), address, transport, endpoint);
}

Helps AlternativesTest::ListenLast() {
  EXPECT_PRED_FORMAT1(IsOk, Allocate(true));
  Sockets sockets;
  Bind(kLoopback, Transport::kTcp, AssignsNone(way()) || ReservesAllocated(way()), sockets);
  EXPECT_EQ(sockets.given.has_value(), way() != Way::kBindProtection);
  return Judge(std::move(sockets), kLoopback, Transport::kTcp, true);
}

void AlternativesTest::Bind(const std::string& address, Transport transport, bool none,
                            Sockets& sockets) {
  const bool fixed = way() == Way::kFixedPort;
  if (!fixed) {
    auto assigned = BindAssigned(way(), address, transport);
    ASSERT_PRED_FORMAT1(IsOk, assigned);
    EXPECT_EQ(assigned->has_value(), !none);
    sockets.assigned = *std::move(assigned);
  }
  auto given = BoundSocket(address, fixed ? kFixedPort : kGivenPort, transport);
  if (given.ok()) {
    sockets.given = *std::move(given);
  } else {  // before Linux 6.1, bind protection refuses with EPERM
    EXPECT_TRUE(absl::IsAlreadyExists(given.status()) || absl::IsPermissionDenied(given.status()))
        << given.status();
  }
}

Helps AlternativesTest::Judge(Sockets sockets, const std::string& address, Transport transport,
                              bool endpoint) {
  const bool assigned =
      !sockets.assigned || IsReached(*std::move(sockets.assigned), address, transport, endpoint);
  const bool given =
      !sockets.given || IsReached(*std::move(sockets.given), address, transport, endpoint);
  if (assigned) return given ? Helps::kYes : Helps::kAssigned;
  return given ? Helps::kGiven : Helps::kNo;
}

bool AlternativesTest::IsReached(base::UniqueFd socket, const std::string& address,
                                 Transport transport, bool endpoint) {
  const uint16_t port = LocalPort(socket.get());
  if (transport == Transport::kTcp) {
    EXPECT_EQ(listen(socket.get(), 16), 0);
  }
  const auto server = EchoServer::Adopt(kHostName, transport, std::move(socket));
  EXPECT_PRED_FORMAT1(IsOk, server);
  std::string answer = Ask({address, port, transport});
  // The guard enters a UDP listener into its table a moment after the port is known.
  if (guard_ && transport == Transport::kUdp) {
    WaitUntil(absl::Seconds(3), [&] {
      answer = Ask({address, port, transport});
      return answer == kHostName;
    });
  }
  EXPECT_THAT(answer, ::testing::AnyOf(kHostName, endpoint ? "pod" : "refused"))
      << address << " port " << port;
  return answer == kHostName;
}

}  // namespace npg::testing
