// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LOG_BIND_LOG_H_
#define NODEPORT_GUARD_LOG_BIND_LOG_H_

#include <spdlog/common.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/workload.h"
#include "log/fields.h"

namespace npg::log {

// A bind() that bind protection reported or refused, with further facts.
struct ProtectedBind {
  abi::BindEvent event;
  std::string service;      // "namespace/name"; may be empty
  std::string executable;   // of the process; empty when it could not be read
  core::Workload workload;  // of its cgroup
};

// Logs each process that binds an allocated NodePort, once in ten minutes for each port, name and
// user, with the number of repetitions in the next line. No I/O and no clock.
class BindLog {
 public:
  static constexpr absl::Duration kSilence = absl::Minutes(10);
  static constexpr size_t kMaxLines = 100;   // in ten minutes
  static constexpr size_t kMaxKnown = 1024;  // beyond, those whose silence is over are forgotten

  using Sink = std::function<void(spdlog::level::level_enum, absl::string_view, const Fields&)>;

  explicit BindLog(Sink sink) : sink_(std::move(sink)) {}

  void Note(const ProtectedBind& bind, absl::Time now);

  size_t known() const { return known_.size(); }

 private:
  struct Known {
    absl::Time quiet_until = absl::InfinitePast();
    uint64_t unlogged = 0;
  };

  // False beyond kMaxLines. Begins a new window when the last one is over.
  bool Allowed(absl::Time now);
  // Makes room for one more, if there is any to make.
  bool HasRoom(absl::Time now);
  void LogLine(const ProtectedBind& bind, uint64_t unlogged);

  const Sink sink_;
  absl::flat_hash_map<std::string, Known> known_;
  absl::Time window_ = absl::InfinitePast();
  size_t lines_ = 0;         // in the window
  uint64_t suppressed_ = 0;  // over the limit in it, or without room in known_
};

}  // namespace npg::log

#endif  // NODEPORT_GUARD_LOG_BIND_LOG_H_
