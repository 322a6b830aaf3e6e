// SPDX-License-Identifier: Apache-2.0
#include "inspect/coverage.h"

#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/coverage.h"
#include "inspect/guard_facts.h"
#include "node/node_port_traces.h"

namespace npg::inspect {
namespace {

constexpr absl::string_view kOvn = "OVN-Kubernetes (interface ovn-k8s-mp0)";

std::string WhatIsUnseen(core::Coverage coverage, const node::NodePortTraces& traces) {
  if (coverage == core::Coverage::kPart) {
    return traces.ovn
               ? absl::StrCat("a part of the NodePorts: its rules do not have those of ", kOvn)
               : "a part of the NodePorts: some rules could not be read or evaluated";
  }
  std::vector<absl::string_view> programs;
  if (traces.ovn) programs.push_back(kOvn);
  // With rules of kube-proxy beside it, Cilium leaves NodePorts to them.
  if (traces.cilium) programs.emplace_back("Cilium (interface cilium_host)");
  return absl::StrCat(
      "no NodePorts: it read no rules of kube-proxy (iptables, nftables or IPVS)",
      programs.empty() ? "" : absl::StrCat(", and this node has ", absl::StrJoin(programs, ", ")));
}

std::string CoverageNote(abi::Source source, core::Coverage coverage,
                         const node::NodePortTraces& traces) {
  return absl::StrCat("source ", abi::Name(source), " sees ", WhatIsUnseen(coverage, traces),
                      "; the API server (--kubeconfig FILE) has all of them");
}

}  // namespace

NodePortCoverage JudgeCoverage(const SourceCoverages& sources, bool failed,
                               const node::NodePortTraces& traces) {
  NodePortCoverage judged;
  std::vector<core::Coverage> read;
  read.reserve(sources.size());
  for (const auto& [source, coverage] : sources) read.push_back(coverage);
  judged.coverage = core::Together(read, failed);
  // Another source sees what this one does not.
  if (core::Together(read, /*failed=*/false) == core::Coverage::kAll) return judged;
  for (const auto& [source, coverage] : sources) {
    if (coverage == core::Coverage::kAll) continue;
    judged.notes.push_back(CoverageNote(source, coverage, traces));
  }
  return judged;
}

NodePortCoverage JudgeCoverage(const GuardFacts& facts) {
  if (facts.controller == 0 || facts.sources.empty()) return {};
  SourceCoverages sources;
  bool failed = false;
  for (const auto& [source, state] : facts.sources) {
    failed |= !state.connected;
    // After a reading of which a part failed, the ports of the others are guarded.
    if (state.connected || state.coverage == core::Coverage::kPart) {
      sources.emplace_back(source, state.coverage);
    }
  }
  return JudgeCoverage(sources, failed, facts.traces);
}

}  // namespace npg::inspect
