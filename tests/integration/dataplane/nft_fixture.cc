// SPDX-License-Identifier: Apache-2.0
#include "integration/dataplane/nft_fixture.h"
#include "core/flow.h"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/unique_fd.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_flows.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_snapshot.h"
#include "dataplane/nft/nft_table.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/net_namespace.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"

namespace npg::dataplane {
namespace {

using base::NetlinkSocket;
using base::UniqueFd;

const NftSetSpec& SetOf(const core::Flow& flow, NftSetUse use) {
  return *std::find_if(kNftSets.begin(), kNftSets.end(), [&](const NftSetSpec& set) {
    return set.family == FlowFamily(flow) && set.protocol == flow.protocol && set.use == use;
  });
}

std::vector<NftElement> Elements(absl::string_view set) {
  auto socket = NetlinkSocket::Open(NETLINK_NETFILTER);
  NPG_EXPECT_OK(socket);
  auto elements = ReadNftElements(*socket, set);
  NPG_EXPECT_OK(elements);
  return elements.ok() ? *std::move(elements) : std::vector<NftElement>();
}

absl::Duration ExpiryOf(const std::vector<NftElement>& elements, const std::string& key) {
  for (const NftElement& element : elements) {
    if (element.key == key) return absl::Milliseconds(element.expires_ms);
  }
  return absl::ZeroDuration();
}

std::array<uint8_t, 16> AddressOf(const sockaddr_storage& storage) {
  std::array<uint8_t, 16> address{};
  if (storage.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    std::memcpy(address.data(), &v6.sin6_addr, address.size());
    return address;
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
  address[10] = address[11] = 0xff;
  std::memcpy(&address[12], &v4.sin_addr, sizeof(v4.sin_addr));
  return address;
}

core::Flow FlowOf(int client, uint8_t protocol) {
  testing::SocketAddress local;
  testing::SocketAddress peer;
  local.size = peer.size = sizeof(local.storage);
  getsockname(client, local.get(), &local.size);
  getpeername(client, peer.get(), &peer.size);
  core::Flow flow;
  flow.protocol = protocol;
  flow.client_address = AddressOf(local.storage);
  flow.server_address = AddressOf(peer.storage);
  flow.client_port = local.port();
  flow.server_port = peer.port();
  return flow;
}

}  // namespace

void NftTest::SetUp() {
  NPG_ASSERT_OK_AND_ASSIGN(home_, testing::NetNamespace::Current());
  NPG_ASSERT_OK_AND_ASSIGN(own_, testing::NetNamespace::Create());
  NPG_ASSERT_OK(own_->Enter());
}

void NftTest::TearDown() { NPG_EXPECT_OK(home_->Enter()); }

bool NftTest::KernelProtects() {
  utsname name{};
  uname(&name);
  int major = 0;
  int minor = 0;
  // NOLINTNEXTLINE(cert-err34-c): the kernel's own text
  std::sscanf(name.release, "%d.%d", &major, &minor);
  return major > 6 || (major == 6 && minor >= 9);
}

NftSettings NftTest::Unprotected() {
  NftSettings settings;
  settings.own = false;
  return settings;
}

NftTableState NftTest::State() {
  const auto state = ReadNftTable();
  NPG_EXPECT_OK(state);
  return state.ok() ? *state : NftTableState();
}

bool NftTest::Intact(NftSettings settings, bool owned) {
  auto socket = NetlinkSocket::Open(NETLINK_NETFILTER);
  NPG_EXPECT_OK(socket);
  const auto snapshot = ReadNftSnapshot(*socket);
  NPG_EXPECT_OK(snapshot);
  if (!snapshot.ok()) return false;
  if (settings.blocks) return IsIntact(*snapshot, settings, owned);
  settings.blocks = core::PortBlocks::Default();
  if (IsIntact(*snapshot, settings, owned)) return true;
  settings.blocks = core::PortBlocks::All();
  return IsIntact(*snapshot, settings, owned);
}

NftTest::Expiry NftTest::FlowExpiry(const core::Flow& flow) {
  const auto elements = Elements(SetOf(flow, NftSetUse::kFlows).name);
  const auto keys = FlowKeys(flow);
  return {ExpiryOf(elements, keys[0]), ExpiryOf(elements, keys[1])};
}

NftTest::Expiry NftTest::HalfClosedExpiry(const core::Flow& flow) {
  const auto elements = Elements(SetOf(flow, NftSetUse::kHalfClosed).name);
  const auto keys = FlowKeys(flow);
  return {ExpiryOf(elements, keys[0]), ExpiryOf(elements, keys[1])};
}

size_t NftTest::EntryCount(const std::string& set) { return Elements(set).size(); }

absl::Status NftTest::SetFlowExpiry(const core::Flow& flow, absl::Duration expires) {
  auto socket = NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  const NftSetSpec& set = SetOf(flow, NftSetUse::kFlows);
  const auto present = Elements(set.name);
  std::vector<std::string> old;
  std::vector<NftElement> entries;
  for (const std::string& key : FlowKeys(flow)) {
    if (ExpiryOf(present, key) > absl::ZeroDuration()) old.push_back(key);
    entries.push_back({key, static_cast<uint64_t>(absl::ToInt64Milliseconds(set.timeout())),
                       static_cast<uint64_t>(absl::ToInt64Milliseconds(expires))});
  }
  // Kernels below 6.12 do not change the timeout of an existing entry.
  NftBatch batch(*socket);
  DeleteElements(batch, std::string(set.name), old);
  AddElements(batch, std::string(set.name), entries);
  const auto commit = batch.Commit();
  if (!commit.ok()) return commit.status();
  return commit->ToStatus();
}

absl::StatusOr<UniqueFd> NftTest::Listening(const std::string& address, uint16_t port,
                                            testing::Transport transport) {
  auto name = testing::MakeAddress(address, port);
  if (!name.ok()) return name.status();
  auto fd = testing::OpenSocket(name->family(), transport);
  if (!fd.ok()) return fd.status();
  const int on = 1;
  setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd->get(), name->get(), name->size) != 0) return base::ErrnoStatus(errno, "bind");
  if (transport != testing::Transport::kUdp && listen(fd->get(), 16) != 0) {
    return base::ErrnoStatus(errno, "listen");
  }
  return fd;
}

absl::StatusOr<Pair> NftTest::Connected(const testing::Dial& dial, int listener) {
  auto client = testing::Connect(dial);
  if (!client.ok()) return client.status();
  Pair pair;
  pair.flow = FlowOf(client->get(), testing::NodePortProtocol(dial.transport));
  pair.client = *std::move(client);
  if (dial.transport == testing::Transport::kUdp) return pair;
  timeval timeout{5, 0};
  setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  pair.server.Reset(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!pair.server) return base::ErrnoStatus(errno, "accept");
  setsockopt(pair.server.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  return pair;
}

absl::Status NftTest::Send(int from, int to) {
  constexpr absl::string_view kBytes = "bytes";
  if (send(from, kBytes.data(), kBytes.size(), MSG_NOSIGNAL) < 0) {
    return base::ErrnoStatus(errno, "send");
  }
  std::array<char, 16> buffer{};
  const ssize_t size = recv(to, buffer.data(), buffer.size(), 0);
  if (size < 0) return base::ErrnoStatus(errno, "receive");
  if (absl::string_view(buffer.data(), static_cast<size_t>(size)) != kBytes) {
    return absl::DataLossError("other bytes arrived");
  }
  return absl::OkStatus();
}

std::string NftTest::Tracked(uint16_t source_port) {
  const auto list = testing::RunCommand({"conntrack", "-L"});
  NPG_EXPECT_OK(list);
  std::string found;
  if (!list.ok()) return found;
  const std::string wanted = absl::StrCat(" sport=", source_port, " ");
  for (const absl::string_view line : absl::StrSplit(*list, '\n')) {
    // The first tuple is that of the first packet.
    const size_t at = line.find(" sport=");
    if (at != absl::string_view::npos && absl::StartsWith(line.substr(at), wanted)) {
      absl::StrAppend(&found, line, "\n");
    }
  }
  return found;
}

void NftTest::Reset(UniqueFd& fd) {
  const linger reset{1, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  fd.Reset();
}

}  // namespace npg::dataplane
