// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_SOURCE_H_
#define NODEPORT_GUARD_SOURCES_SOURCE_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "core/bind_facts.h"
#include "core/coverage.h"
#include "core/port.h"

namespace npg::sources {

// One reading of a source.
struct Reading {
  core::PortSnapshot ports;
  // Input that was skipped, one line each, by name ("item 3: port 70000 is
  // outside 1-65535"). The rest of the reading is valid.
  std::vector<std::string> skipped;
  // The ports that may differ from those of the last reading that the source reported, others do
  // not. nullopt: all of them may.
  std::optional<std::vector<core::PortKey>> changed = std::nullopt;
  core::Coverage coverage = core::Coverage::kAll;  // of the NodePorts of this node
};

// The reading of a place where nothing implements NodePorts.
inline Reading NothingSeen() {
  Reading reading;
  reading.coverage = core::Coverage::kNone;
  return reading;
}

// The state of a source, as `status` shows it.
using SourceState = abi::SourceState;

// Reports which ports are allocated. A failed reading is an error, never an empty
// reading: the caller keeps the last one.
class Source {
 public:
  using Callback = std::function<void(const absl::StatusOr<Reading>&)>;

  virtual ~Source() = default;

  virtual abi::Source id() const = 0;
  absl::string_view name() const { return abi::Name(id()); }

  // A local source is read before the guard is attached. A remote one (an API server, which
  // may be unreachable when a node starts) is only followed. Until the first reading that
  // succeeds, the entries of an earlier run stay.
  virtual bool local() const { return true; }

  // Reads once, now. May block, boundedly.
  virtual absl::StatusOr<Reading> Read() = 0;

  // Nothing guards this node yet: the first reading is urgent. By default, a remote source
  // spreads those of many nodes over some seconds. Call it before Follow().
  virtual void HurryFirstReading() {}

  // From now on calls back, from the loop, with a complete reading (or the error that
  // prevented one) after every change. Reports a repeated error once, and again when
  // PartialPorts() has changed. Call it at most once; the loop outlives the source.
  virtual absl::Status Follow(base::EventLoop& loop, Callback callback) = 0;

  // After a reading that failed because of a part of the input: the ports of the other parts. Some
  // ports may be missing from them, so none may be removed because of them. Empty otherwise.
  // State() then has the coverage kPart.
  virtual core::PortSnapshot PartialPorts() const { return {}; }

  // What it knows of the use of ports on the node, as of the last reading that succeeded; valid
  // until the next one. Null: it knows nothing about that. A change of it alone is reported like
  // one of the ports.
  virtual const core::BindFacts* bind_facts() const { return nullptr; }

  // Its present state. Cheap: called after every callback and every few seconds.
  virtual SourceState State() const = 0;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_SOURCE_H_
