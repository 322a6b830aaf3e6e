// SPDX-License-Identifier: Apache-2.0

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "bench/comparisons.h"
#include "bench/growth.h"
#include "bench/growth_bench.h"
#include "bench/measure.h"
#include "bench_empty.skel.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/skeleton.h"
#include "dataplane/bpf/unallocated_ports.h"
#include "guard_abi.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::MakeAddress;
using ::npg::testing::OpenSocket;
using ::npg::testing::SocketAddress;
using ::npg::testing::Transport;

constexpr std::array<size_t, 6> kNodePorts = {0, 10, 100, 1000, 10000, 60000};
constexpr uint16_t kPlainPort = 9999;  // no NodePort
constexpr uint16_t kHostPort = 31000;  // the first NodePort, with a listener
// No NodePort either: the program looks up the port of a UDP client, too, and has more to do for
// one that is a NodePort.
constexpr uint16_t kClientPort = 29000;
constexpr uint32_t kConnectMark = 0x1000;
constexpr absl::Duration kAfterResize = absl::Milliseconds(10);

struct EmptyDeleter {
  void operator()(bench_empty* skeleton) const { bench_empty__destroy(skeleton); }
};
struct LinkDeleter {
  void operator()(bpf_link* link) const { bpf_link__destroy(link); }
};
using Link = std::unique_ptr<bpf_link, LinkDeleter>;

template <typename Key, typename Value>
absl::Status Put(const bpf_map* map, const Key& key, const Value& value) {
  if (bpf_map__update_elem(map, &key, sizeof(key), &value, sizeof(value), BPF_ANY) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("write to map ", bpf_map__name(map)));
  }
  return absl::OkStatus();
}

// The NodePorts in the map of a guard: UDP ports from kHostPort upwards, and from 1 after the last
// number. All variants run the same program with another number of them, so that where a program
// lies in memory does not count.
class NodePorts {
 public:
  NodePorts(const bpf_map* map, const bpf_map* unallocated)
      : map_(map), unallocated_(bpf_map__fd(unallocated), bpf_map__fd(map)) {}

  absl::Status Resize(size_t count) {
    if (size_ == count) return absl::OkStatus();
    npg_nodeport value{};
    value.sources = NPG_SOURCE_KUBERNETES;
    for (; size_ < count; ++size_) NPG_RETURN_IF_ERROR(Put(map_, Key(size_), value));
    for (; size_ > count; --size_) {
      const npg_port_key key = Key(size_ - 1);
      if (bpf_map__delete_elem(map_, &key, sizeof(key), 0) != 0) {
        return base::ErrnoStatus(errno, "delete from map nodeports");
      }
    }
    NPG_RETURN_IF_ERROR(unallocated_.Rebuild());
    // A thread that was just busy for long is preempted soon on a busy machine.
    absl::SleepFor(kAfterResize);
    return absl::OkStatus();
  }

 private:
  static npg_port_key Key(size_t i) {
    constexpr size_t kUntilEnd = 65536 - kHostPort;
    const size_t port = i < kUntilEnd ? kHostPort + i : i - kUntilEnd + 1;
    // No other `i` reaches the port before kHostPort.
    return {static_cast<uint16_t>(port == kPlainPort ? kHostPort - 1 : port), IPPROTO_UDP, 0};
  }

  const bpf_map* map_;
  const dataplane::UnallocatedPorts unallocated_;
  size_t size_ = 0;
};
static_assert(kNodePorts.back() < 65535 - (kHostPort - kClientPort), "kClientPort is free");

// The guard's programs, without NodePorts. They guard this network namespace and user.
absl::StatusOr<dataplane::Skeleton> LoadGuard(int cgroup) {
  dataplane::Skeleton guard =
      dataplane::OpenGuardPrograms({abi::Scope::kLoopback, abi::BindProtection::kOff});
  if (!guard) return base::ErrnoStatus(errno, "open the guard's programs");
  NPG_RETURN_IF_ERROR(dataplane::LoadSkeleton(guard, "load the guard's programs"));
  const absl::StatusOr<uint64_t> cookie = dataplane::NetnsCookie(cgroup);
  if (!cookie.ok()) return cookie.status();
  npg_config config{};
  config.netns_cookie = *cookie;
  config.abi_version = NPG_ABI_VERSION;
  config.mode = NPG_MODE_ENFORCE;
  config.mark = kConnectMark;
  config.mark_mask = kConnectMark;
  NPG_RETURN_IF_ERROR(Put(guard->maps.config, uint32_t{0}, config));
  NPG_RETURN_IF_ERROR(Put(guard->maps.guard_uids, npg_uid_key{getuid()}, npg_member{1}));
  return guard;
}

// A UDP socket of this process on 127.0.0.1:kHostPort, bound before any program saw it.
absl::StatusOr<base::UniqueFd> OpenHost() {
  const absl::StatusOr<SocketAddress> at = MakeAddress("127.0.0.1", kHostPort);
  if (!at.ok()) return at.status();
  absl::StatusOr<base::UniqueFd> socket = OpenSocket(AF_INET, Transport::kUdp);
  if (!socket.ok()) return socket.status();
  if (bind(socket->get(), at->get(), at->size) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("bind 127.0.0.1:", kHostPort));
  }
  return socket;
}

absl::Status Own(const nodeport_guard* guard, int socket) {
  npg_socket_owner owner{};
  owner.uid = getuid();
  owner.pid = static_cast<uint32_t>(getpid());
  owner.asked_port = kHostPort;
  return Put(guard->maps.socket_owners, socket, owner);
}

// One UDP socket connects again and again. No packet is sent. Fails where the last connect did not
// leave the expected mark: the wrong path would be measured.
absl::StatusOr<double> Reconnect(const SocketAddress& to, uint32_t mark) {
  constexpr int kTimes = 1000;
  const absl::StatusOr<base::UniqueFd> client = OpenSocket(AF_INET, Transport::kUdp);
  if (!client.ok()) return client.status();
  const int fd = client->get();
  const absl::StatusOr<SocketAddress> from = MakeAddress("0.0.0.0", kClientPort);
  if (!from.ok()) return from.status();
  if (bind(fd, from->get(), from->size) != 0) return base::ErrnoStatus(errno, "bind the client");
  if (connect(fd, to.get(), to.size) != 0) return base::ErrnoStatus(errno, "connect");
  const double start = ThreadNanoseconds();
  for (int i = 0; i < kTimes; ++i) {
    if (connect(fd, to.get(), to.size) != 0) return base::ErrnoStatus(errno, "connect");
  }
  const double took = ThreadNanoseconds() - start;
  uint32_t marked = 0;
  socklen_t size = sizeof(marked);
  if (getsockopt(fd, SOL_SOCKET, SO_MARK, &marked, &size) != 0) {
    return base::ErrnoStatus(errno, "read SO_MARK");
  }
  if (marked != mark) return absl::InternalError(absl::StrCat("the socket has mark ", marked));
  return took / kTimes;
}

// Attaches one program at a time to the cgroup.
class Attachment {
 public:
  explicit Attachment(int cgroup) : cgroup_(cgroup) {}

  absl::Status Attach(const bpf_program* program) {
    link_.reset(bpf_program__attach_cgroup(program, cgroup_));
    if (link_) return absl::OkStatus();
    return base::ErrnoStatus(errno, absl::StrCat("attach ", bpf_program__name(program)));
  }
  void Detach() { link_.reset(); }

 private:
  int cgroup_;
  Link link_;
};

}  // namespace

absl::StatusOr<Growth> ConnectGrowth(const std::string& cgroup, absl::Duration time,
                                     absl::FunctionRef<bool()> stop) {
  const base::UniqueFd cgroup_fd(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup_fd) return base::ErrnoStatus(errno, absl::StrCat("open ", cgroup));
  const std::unique_ptr<bench_empty, EmptyDeleter> empty(bench_empty__open_and_load());
  if (!empty) return base::ErrnoStatus(errno, "load the empty programs");
  const absl::StatusOr<base::UniqueFd> host = OpenHost();
  if (!host.ok()) return host.status();
  const absl::StatusOr<dataplane::Skeleton> guard = LoadGuard(cgroup_fd.get());
  if (!guard.ok()) return guard.status();
  NPG_RETURN_IF_ERROR(Own(guard->get(), host->get()));
  NodePorts nodeports((*guard)->maps.nodeports, (*guard)->maps.unallocated);
  Attachment attachment(cgroup_fd.get());

  Growth growth{"connects", "What a UDP connect costs, by the NodePorts known",
                "NodePorts in the map", "ns over an empty program"};
  struct Path {
    const char* name;
    const char* address;
    uint16_t port;
    bool exempt;
  };
  constexpr std::array<Path, 3> kPaths = {{
      {"to an address that is not loopback", kElsewhere4, kPlainPort, false},
      {"to loopback, no NodePort", "127.0.0.1", kPlainPort, false},
      {"exempt, again from the same socket", "127.0.0.1", kHostPort, true},
  }};
  for (const Path& path : kPaths) {
    const absl::StatusOr<SocketAddress> to = MakeAddress(path.address, path.port);
    if (!to.ok()) return to.status();
    std::vector<Variant> variants;
    const auto add = [&](const std::string& name, const bpf_program* program, size_t count,
                         uint32_t mark) {
      variants.push_back({name,
                          [&attachment, &nodeports, program, count]() -> absl::Status {
                            NPG_RETURN_IF_ERROR(nodeports.Resize(count));
                            return attachment.Attach(program);
                          },
                          [&attachment] { attachment.Detach(); },
                          [&to, mark] { return Reconnect(*to, mark); }});
    };
    add("empty program", empty->progs.empty_connect4, 0, 0);
    add("empty program, once more", empty->progs.empty_connect4, 0, 0);
    std::vector<size_t> counts;
    for (const size_t count : kNodePorts) {
      // Without any NodePort no connect is exempt.
      if (path.exempt && count == 0) continue;
      counts.push_back(count);
      add(absl::StrCat(path.name, ", ", count, " NodePorts"), (*guard)->progs.npg_connect4, count,
          path.exempt ? kConnectMark : 0);
    }
    const auto spreads =
        DifferencesToFirst(variants, time / static_cast<double>(kPaths.size()), stop);
    if (!spreads.ok()) return spreads.status();
    if (!growth.noise) growth.noise = (*spreads)[1];
    GrowthSeries series{path.name, {}};
    for (size_t i = 0; i < counts.size(); ++i) {
      series.points.push_back({static_cast<double>(counts[i]), (*spreads)[i + 2]});
    }
    growth.series.push_back(std::move(series));
  }
  return growth;
}

}  // namespace npg::bench
