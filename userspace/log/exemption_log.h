// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LOG_EXEMPTION_LOG_H_
#define NODEPORT_GUARD_LOG_EXEMPTION_LOG_H_

#include <spdlog/common.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/listener.h"
#include "core/port.h"
#include "log/fields.h"

namespace npg::log {

// An exemption, with further facts.
struct Exemption {
  abi::Event event;
  // "namespace/name", or the rules that take the port ("nft table ip nat, chain X"); may be empty.
  std::string service;
  core::Owner owner;  // of the listener; pid 0: not known
};

// How many connects to a port were exempted, and observed, since the guard was loaded.
struct ExemptionTotals {
  uint64_t exempted = 0;
  uint64_t observed = 0;
};

// Logs the client and the listener of each conflict at its first connect, and then the
// number of connects, every ten minutes while there are any. The programs publish at most
// ten connects a second for one port but count all of them, so the numbers come from their
// counts. No I/O and no clock.
class ExemptionLog {
 public:
  static constexpr absl::Duration kSummary = absl::Minutes(10);
  static constexpr size_t kMaxPorts = 1024;   // beyond, the port idle for longest is dropped
  static constexpr size_t kMaxListeners = 8;  // first lines for one port between summaries
  static constexpr size_t kMaxLines = 100;    // first lines in ten minutes

  using Sink = std::function<void(spdlog::level::level_enum, absl::string_view, const Fields&)>;
  using Totals = absl::FunctionRef<std::optional<ExemptionTotals>(const core::PortKey&)>;
  using Before = absl::flat_hash_map<core::PortKey, ExemptionTotals>;

  // `before`: the counts until now, which are not logged.
  ExemptionLog(Sink sink, Before before) : sink_(std::move(sink)), before_(std::move(before)) {}

  void Note(const Exemption& exemption, absl::Time now);
  // Logs the summaries that are due.
  void Tick(absl::Time now, Totals totals);

  size_t ports() const { return ports_.size(); }

 private:
  struct Port {
    core::PortKey key;
    bool observed = false;
    std::string service;
    std::string owner;                       // of the listener that was last logged
    absl::btree_set<std::string> listeners;  // that were logged
    absl::Time since;                        // of the last summary, or the first line
    // The part of the total that was logged; nullopt if unknown.
    std::optional<uint64_t> logged;
    uint64_t unlogged = 0;  // events that were not logged
  };
  using Ports = std::list<Port>;  // most recent event first

  Port& Find(const core::PortKey& key, bool observed, absl::Time now);
  bool Allowed(absl::Time now);
  void LogFirst(const Exemption& exemption, const std::string& listener);
  void Summarize(Port& port, uint64_t more, absl::Time now);

  Sink sink_;
  Before before_;  // of ports that had no event yet
  bool forgot_ = false;
  Ports ports_;
  absl::flat_hash_map<core::PortKey, Ports::iterator> index_;
  absl::Time window_ = absl::InfinitePast();
  size_t lines_ = 0;       // in the window
  size_t suppressed_ = 0;  // first lines over the limit
};

}  // namespace npg::log

#endif  // NODEPORT_GUARD_LOG_EXEMPTION_LOG_H_
