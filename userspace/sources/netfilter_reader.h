// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_NETFILTER_READER_H_
#define NODEPORT_GUARD_SOURCES_NETFILTER_READER_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/subprocess.h"
#include "core/coverage.h"
#include "core/port.h"
#include "node/node_port_traces.h"
#include "node/save_commands.h"
#include "sources/rule_parts.h"
#include "sources/source.h"

namespace npg::sources {

// A NetfilterReader's access to the system. Tests replace it.
struct NetfilterEdges {
  // ReadKubeProxyMaps() and node::HasChain().
  std::function<absl::StatusOr<Reading>()> read_maps;
  std::function<absl::StatusOr<bool>(uint8_t family, absl::string_view table,
                                     absl::string_view chain)>
      has_chain;
  std::vector<std::string> command_folders;
  std::string proc_net;  // holds ip_tables_names and ip6_tables_names
  base::Subprocess::Limits limits;
  std::function<node::NodePortTraces()> read_traces = node::ReadNodePortTraces;

  // The real ones, of the current network namespace.
  static NetfilterEdges OfThisNamespace();
};

// Reads the rules that take local ports away, part by part, without blocking for longer
// than a netlink request takes.
//
// A save command runs only if the kernel already has such rules: for nf_tables when one of
// the chains exists (iptables-nft-save -t TABLE), for ip_tables when /proc/net names a
// table (reading another one would load modules and create it). So foreign tables, which
// iptables-nft-save may be unable to print, do no harm.
class NetfilterReader {
 public:
  struct Outcome {
    // All parts together. An error when any part could not be read.
    absl::StatusOr<Reading> reading;
    // When `reading` is an error: the ports of all parts, as each was last read; none of a part
    // that was never read.
    core::PortSnapshot partial;
    // When `reading` is an error: whether some part has ports, or chains of kube-proxy, all the
    // same. The coverage is kPart then.
    bool in_part = false;
    // Parts that lack ports they had before. The ports are still in `reading`: rules
    // move between tables in two steps, and a reading in between has neither. The ports
    // are removed when the next reading lacks them, too.
    RulePartSet unsettled;
    RulePartSet failed;
  };

  explicit NetfilterReader(NetfilterEdges edges) : edges_(std::move(edges)) {}

  // Reads `parts` again and calls `done` once, from the loop or from Start() itself;
  // other parts keep their last reading. Do not call it during a reading. `done` must not
  // destroy the reader.
  void Start(base::EventLoop& loop, RulePartSet parts, std::function<void(Outcome)> done);

  // The ports of all parts, as each was last read; also during a reading.
  core::PortSnapshot PortsSoFar() const;

 private:
  struct Part {
    absl::Status status;
    Reading reading = NothingSeen();  // the last that succeeded
    core::PortSnapshot before;        // the ports of the one before it
  };

  // Reads the pending parts, until there is none or a command is running.
  void ReadOn();
  // True when a command was started, whose output will be the reading.
  bool Read(RulePart part);
  bool ReadNftTable(RulePart part);
  bool ReadLegacy(RulePart part);
  bool Run(RulePart part, const std::vector<std::string>& argv, absl::string_view table);
  void NoCommand(RulePart part, absl::string_view command, absl::string_view what);
  void Store(RulePart part, absl::StatusOr<Reading> reading);
  Outcome Combine() const;
  core::Coverage CombineCoverage() const;

  const NetfilterEdges edges_;
  std::array<Part, kRuleParts> parts_;

  base::EventLoop* loop_ = nullptr;
  RulePartSet waiting_;
  std::function<void(Outcome)> done_;
  std::array<node::SaveCommands, 2> commands_;  // of IPv4, of IPv6
  std::unique_ptr<base::Subprocess> process_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_NETFILTER_READER_H_
