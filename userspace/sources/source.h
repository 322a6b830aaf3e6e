// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_SOURCE_H_
#define NODEPORT_GUARD_SOURCES_SOURCE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "core/port.h"
#include "guard_abi.h"

namespace npg::sources {

// One reading of a source.
struct Reading {
  core::PortSnapshot ports;
  // Input that was skipped, one line each, by name ("item 3: port 70000 is
  // outside 1-65535"). The rest of the reading is valid.
  std::vector<std::string> skipped;
};

// How a source does: what `status` shows of it. Times default to the epoch,
// which stands for "never".
struct SourceState {
  bool connected = false;        // what it says is current
  absl::Time since;              // when it became connected, or ceased to be; at first, its start
  absl::Time last_event;         // when it last heard from where it reads, bookmarks included
  absl::Time last_reading;       // when it last stated all it knows
  std::string resource_version;  // of the API server, where one is read
  size_t services = 0;           // that have ports
  size_t ports = 0;
  size_t health_check_ports = 0;  // healthCheckNodePorts: kube-proxy listens there, not guarded
  size_t skipped = 0;             // lines in Reading::skipped, now
  std::array<uint64_t, NPG_SOURCE_ERROR_MAX> errors{};  // by npg_source_error, since the start
  std::string last_error;                               // one line; stays when it is over
  std::string detail;  // where and how it reads: a path, "https://10.96.0.1:443, watch"

  bool operator==(const SourceState&) const = default;
};

// Says which ports are allocated. A failed reading is an error, never an empty
// reading: whoever listens keeps what it was told last.
class Source {
 public:
  using Callback = std::function<void(const absl::StatusOr<Reading>&)>;

  virtual ~Source() = default;

  // The source's name and its bit in the nodeports map: "file", NPG_SOURCE_FILE.
  virtual absl::string_view name() const = 0;
  virtual npg_source bit() const = 0;

  // A local source is read before the guard is attached, and its error ends the
  // start. One that is not (an API server, which may be away when a node
  // starts) is only followed; until it has spoken, what an earlier run entered
  // in its name stays.
  virtual bool local() const { return true; }

  // Reads once, now. May block, boundedly.
  virtual absl::StatusOr<Reading> Read() = 0;

  // From now on calls back, from the loop, with a whole new reading (or the
  // error that prevented one) after every change. An error that repeats
  // unchanged is reported once. Called at most once; the loop outlives the source.
  virtual absl::Status Follow(base::EventLoop& loop, Callback callback) = 0;

  // How it does, now. Cheap: asked for after every callback and every few seconds.
  virtual SourceState State() const = 0;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_SOURCE_H_
