// SPDX-License-Identifier: Apache-2.0
#include "bench/programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "bench/measure.h"
#include "bench_empty.skel.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/skeleton.h"
#include "dataplane/bpf/unallocated_ports.h"
#include "guard_abi.h"

namespace npg::bench {
namespace {

template <typename Key, typename Value>
absl::Status Put(const bpf_map* map, const Key& key, const Value& value) {
  if (bpf_map__update_elem(map, &key, sizeof(key), &value, sizeof(value), BPF_ANY) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("write to map ", bpf_map__name(map)));
  }
  return absl::OkStatus();
}

}  // namespace

void Programs::EmptyDeleter::operator()(bench_empty* skeleton) const {
  bench_empty__destroy(skeleton);
}

absl::StatusOr<std::unique_ptr<Programs>> Programs::Load(const std::string& cgroup) {
  std::unique_ptr<Programs> programs(new Programs);
  programs->cgroup_.Reset(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!programs->cgroup_) return base::ErrnoStatus(errno, absl::StrCat("open ", cgroup));
  using abi::BindProtection;
  using abi::Scope;
  const std::array<std::pair<dataplane::Skeleton*, dataplane::ProgramConstants>, 4> guards = {
      {{&programs->guard_, {Scope::kLoopback, BindProtection::kOff}},
       {&programs->local_, {Scope::kLocal, BindProtection::kOff}},
       {&programs->warn_, {Scope::kLoopback, BindProtection::kWarn}},
       {&programs->deny_, {Scope::kLoopback, BindProtection::kDeny}}}};
  for (const auto& [skeleton, constants] : guards) {
    *skeleton = dataplane::OpenGuardPrograms(constants);
    if (!*skeleton) return base::ErrnoStatus(errno, "open the guard's programs");
    NPG_RETURN_IF_ERROR(dataplane::LoadSkeleton(
        *skeleton, absl::StrCat("load the guard's programs with scope ", abi::Name(constants.scope),
                                " and bind protection ", abi::Name(constants.bind))));
  }
  programs->empty_.reset(bench_empty__open_and_load());
  if (!programs->empty_) return base::ErrnoStatus(errno, "load the empty programs");
  const absl::StatusOr<uint64_t> cookie = dataplane::NetnsCookie(programs->cgroup_.get());
  if (!cookie.ok()) return cookie.status();
  programs->config_.netns_cookie = *cookie;
  programs->config_.abi_version = NPG_ABI_VERSION;
  programs->config_.mode = NPG_MODE_ENFORCE;
  programs->config_.mark = 0x1000;
  programs->config_.mark_mask = 0x1000;
  NPG_RETURN_IF_ERROR(programs->SetForeign(false));
  for (const nodeport_guard* guard : programs->Guards()) {
    NPG_RETURN_IF_ERROR(programs->Fill(guard));
  }
  return programs;
}

Programs::~Programs() { Detach(); }

std::vector<const nodeport_guard*> Programs::Guards() const {
  return {guard_.get(), local_.get(), warn_.get(), deny_.get()};
}

absl::Status Programs::Fill(const nodeport_guard* guard) {
  NPG_RETURN_IF_ERROR(Put(guard->maps.guard_uids, npg_uid_key{getuid()}, npg_member{1}));
  npg_nodeport value{};
  value.sources = NPG_SOURCE_KUBERNETES;
  for (uint32_t port = kFirstNodePort; port <= kLastNodePort; ++port) {
    for (const uint8_t protocol : {uint8_t{IPPROTO_TCP}, uint8_t{IPPROTO_UDP}}) {
      const npg_port_key key = {static_cast<uint16_t>(port), protocol, 0};
      NPG_RETURN_IF_ERROR(Put(guard->maps.nodeports, key, value));
    }
  }
  return dataplane::UnallocatedPorts(bpf_map__fd(guard->maps.unallocated),
                                     bpf_map__fd(guard->maps.nodeports))
      .Rebuild();
}

absl::Status Programs::SetForeign(bool foreign) {
  npg_config config = config_;
  if (foreign) config.netns_cookie = ~config.netns_cookie;
  for (const nodeport_guard* guard : Guards()) {
    NPG_RETURN_IF_ERROR(Put(guard->maps.config, uint32_t{0}, config));
  }
  return absl::OkStatus();
}

absl::Status Programs::Own(int socket, uint16_t port) {
  npg_socket_owner owner{};
  owner.uid = getuid();
  owner.pid = static_cast<uint32_t>(getpid());
  owner.asked_port = port;
  NPG_RETURN_IF_ERROR(Put(guard_->maps.socket_owners, socket, owner));
  return Put(local_->maps.socket_owners, socket, owner);
}

absl::Status Programs::AllowEvents() {
  for (const nodeport_guard* guard : {guard_.get(), local_.get()}) {
    npg_port_key key{};
    while (bpf_map__get_next_key(guard->maps.port_stats, nullptr, &key, sizeof(key)) == 0) {
      if (bpf_map__delete_elem(guard->maps.port_stats, &key, sizeof(key), 0) != 0) {
        return base::ErrnoStatus(errno, "empty map port_stats");
      }
    }
    // No process reads the events, and a full buffer would cost less than one with room.
    ring_buffer* reader = ring_buffer__new(
        bpf_map__fd(guard->maps.events), [](void*, void*, size_t) { return 0; }, nullptr, nullptr);
    if (reader == nullptr) return base::ErrnoStatus(errno, "open map events");
    const int consumed = ring_buffer__consume(reader);
    ring_buffer__free(reader);
    if (consumed < 0) return base::ErrnoStatus(-consumed, "read map events");
  }
  return absl::OkStatus();
}

absl::Status Programs::Attach(const std::vector<bpf_program*>& programs) {
  for (bpf_program* program : programs) {
    bpf_link* link = bpf_program__attach_cgroup(program, cgroup_.get());
    if (link == nullptr) {
      const int error = errno;
      Detach();
      return base::ErrnoStatus(error, absl::StrCat("attach ", bpf_program__name(program)));
    }
    links_.push_back(link);
  }
  return absl::OkStatus();
}

void Programs::Detach() {
  for (bpf_link* link : links_) bpf_link__destroy(link);
  links_.clear();
}

std::vector<Variant> Programs::Variants(Hook hook,
                                        const std::function<absl::StatusOr<double>()>& batch) {
  std::vector<bpf_program*> guard = {guard_->progs.npg_connect4, guard_->progs.npg_connect6};
  std::vector<bpf_program*> empty = {empty_->progs.empty_connect4, empty_->progs.empty_connect6};
  if (hook == Hook::kBind) {
    guard = {guard_->progs.npg_bind4, guard_->progs.npg_bind6};
    empty = {empty_->progs.empty_bind4, empty_->progs.empty_bind6};
  }
  const auto leave = [this] { Detach(); };
  std::vector<Variant> variants = {
      {"no program", nullptr, nullptr, batch},
      {"empty program", [this, empty] { return Attach(empty); }, leave, batch},
      {"empty program, once more", [this, empty] { return Attach(empty); }, leave, batch},
      {"guard", [this, guard] { return Attach(guard); }, leave, batch},
  };
  if (hook == Hook::kBind) {
    const std::vector<bpf_program*> storage = {empty_->progs.storage_bind4,
                                               empty_->progs.storage_bind6};
    variants.push_back({"empty program with a storage", [this, storage] { return Attach(storage); },
                        leave, batch});
    for (const auto& [name, skeleton] : {std::pair{"warn", warn_.get()}, {"deny", deny_.get()}}) {
      const std::vector<bpf_program*> protecting = {skeleton->progs.npg_bind4,
                                                    skeleton->progs.npg_bind6};
      variants.push_back({absl::StrCat("guard, bind protection ", name),
                          [this, protecting] { return Attach(protecting); }, leave, batch});
    }
  }
  if (hook == Hook::kConnect) {
    const std::vector<bpf_program*> local = {local_->progs.npg_connect4,
                                             local_->progs.npg_connect6};
    variants.push_back(
        {"guard, scope local", [this, local] { return Attach(local); }, leave, batch});
  }
  return variants;
}

}  // namespace npg::bench
