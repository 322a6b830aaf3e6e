// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_PROGRAMS_H_
#define NODEPORT_GUARD_TESTS_BENCH_PROGRAMS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "bench/measure.h"
#include "dataplane/bpf/skeleton.h"
#include "guard_abi.h"

struct bench_empty;
struct nodeport_guard;
struct bpf_link;
struct bpf_program;

namespace npg::bench {

// The guard's programs with maps as on a node, and empty ones, to be attached
// to one cgroup in turn. Nothing is pinned.
class Programs {
 public:
  // The NodePorts of the guard: the default range, TCP and UDP.
  static constexpr uint16_t kFirstNodePort = 30000;
  static constexpr uint16_t kLastNodePort = 32767;

  // Guards the network namespace of the calling thread.
  static absl::StatusOr<std::unique_ptr<Programs>> Load(const std::string& cgroup);
  ~Programs();
  Programs(const Programs&) = delete;
  Programs& operator=(const Programs&) = delete;

  enum class Hook : uint8_t { kConnect, kBind };

  // "no program", "empty program", the same once more, "guard", and, for connects, "guard, scope
  // local", for binds "empty program with a storage", "guard, bind protection warn" and "deny":
  // `batch` with each of them attached to the hook's IPv4 and IPv6 variant.
  std::vector<Variant> Variants(Hook hook, const std::function<absl::StatusOr<double>()>& batch);

  // Makes another namespace the guarded one, or this one again.
  absl::Status SetForeign(bool foreign);
  // Notes that this process bound a socket to this port: none of the programs saw it.
  absl::Status Own(int socket, uint16_t port);
  // Clears the records of published events, so that every port may publish again.
  absl::Status AllowEvents();

 private:
  struct EmptyDeleter {
    void operator()(bench_empty* skeleton) const;
  };
  Programs() = default;

  absl::Status Fill(const nodeport_guard* guard);
  // The guard's programs, with their settings: the first has the defaults.
  std::vector<const nodeport_guard*> Guards() const;
  absl::Status Attach(const std::vector<bpf_program*>& programs);
  void Detach();

  base::UniqueFd cgroup_;
  dataplane::Skeleton guard_;
  dataplane::Skeleton local_;  // with the node's own addresses in scope, and none of them known
  // With bind protection; of the NodePorts, none is refusable, so that all can be bound.
  dataplane::Skeleton warn_, deny_;
  std::unique_ptr<bench_empty, EmptyDeleter> empty_;
  std::vector<bpf_link*> links_;
  npg_config config_{};
};

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_PROGRAMS_H_
