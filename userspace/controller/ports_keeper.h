// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PORTS_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_PORTS_KEEPER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "controller/source_states.h"
#include "core/bind_facts.h"
#include "core/desired_state.h"
#include "core/port_blocks.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/repeated_fault.h"
#include "sources/source.h"

namespace npg::controller {

// Keeps the map `nodeports` equal to the union of the sources, and the map `sources` to their
// states.
class PortsKeeper {
 public:
  using Sources = std::vector<std::unique_ptr<sources::Source>>;

  struct Callbacks {
    // The map is about to get ports of these blocks. After an error it gets none of them.
    std::function<absl::Status(core::PortBlocks blocks)> cover;
    // The map is about to be changed.
    std::function<void(const core::Difference& difference)> changing;
    // The map has new ports, or may have some after an error.
    std::function<void()> fresh;
    // All pending changes of the map were made.
    std::function<void()> changed;
    // The source has reported its full set of ports, and what it knows of their use; after that
    // is in desired() and bind_facts(), also if nothing changed.
    std::function<void(absl::string_view source)> read;
  };

  // guard and sources outlive this.
  PortsKeeper(dataplane::BpfGuard& guard, const Sources& sources, Callbacks callbacks);
  PortsKeeper(const PortsKeeper&) = delete;
  PortsKeeper& operator=(const PortsKeeper&) = delete;

  // For a start, in this order: before the programs are attached, reads the local sources and fills
  // the map; after it, writes the states; follows the sources when the loop is about to run. An
  // error of the first and the last ends it. A source that cannot be read is no error: an adopted
  // guard keeps its entries, and Follow() reads it again. Nor is a full map: what fits is guarded.
  absl::Status Start();
  void BeginStates();
  absl::Status Follow(base::EventLoop& loop);

  // At regular intervals: tries again what has failed.
  void Maintain();

  const core::DesiredState& desired() const { return desired_; }
  // The names of the sources that Start() has read.
  const std::vector<absl::string_view>& read_at_start() const { return read_at_start_; }
  // The facts of the sources that know any.
  std::vector<const core::BindFacts*> bind_facts() const;
  abi::SourceBits followed() const { return followed_; }
  // Whether each source has been read since the start.
  bool complete() const { return (followed_ & ~read_) == 0; }
  // Whether each source that knows of the use of ports has been: all but the rules of this node.
  bool facts_complete() const {
    return (followed_ & ~read_ & ~abi::Bit(abi::Source::kNetfilter)) == 0;
  }
  // OK when the map has all of it; otherwise why not.
  const absl::Status& applied() const { return applied_; }

 private:
  // The changes that one call made to the map.
  struct Applied {
    size_t put = 0;
    size_t removed = 0;
  };
  absl::Status ReadLocal();
  absl::StatusOr<Applied> Apply();
  absl::Status WriteStates();
  void OnReading(const sources::Source& source, const absl::StatusOr<sources::Reading>& reading);
  void NoteSource(const sources::Source& source, const absl::Status& status);
  void LogSkipped(const sources::Source& source, const std::vector<std::string>& skipped);

  dataplane::BpfGuard& guard_;
  const Sources& sources_;
  const Callbacks callbacks_;
  const abi::SourceBits followed_;
  abi::SourceBits read_ = 0;  // since the start
  core::DesiredState desired_;
  std::vector<absl::string_view> read_at_start_;
  absl::Status applied_;
  SourceStates states_;
  absl::flat_hash_map<std::string, std::vector<std::string>> skipped_;
  absl::flat_hash_map<std::string, log::RepeatedFault> source_faults_;
  log::RepeatedFault apply_fault_{"apply the NodePorts"};
  log::RepeatedFault states_fault_{"write the state of the sources"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PORTS_KEEPER_H_
