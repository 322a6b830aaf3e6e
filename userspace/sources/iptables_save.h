// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_IPTABLES_SAVE_H_
#define NODEPORT_GUARD_SOURCES_IPTABLES_SAVE_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sources/source.h"

namespace npg::sources {

// The chains whose rules take local ports away from the host, by table. KUBE-NODEPORTS
// of table filter is not one of them: it accepts health checks.
inline constexpr absl::string_view kKubeNodePorts = "KUBE-NODEPORTS";                 // nat
inline constexpr absl::string_view kCniHostPorts = "CNI-HOSTPORT-DNAT";               // nat
inline constexpr absl::string_view kKubeExternalServices = "KUBE-EXTERNAL-SERVICES";  // filter

// The output of iptables-save.
struct SavedRules {
  Reading reading;
  bool has_nat = false;  // the output has the complete table
  bool has_filter = false;
};

// Parses the output of iptables-save and ip6tables-save, of either variant, with or
// without counters:
//
//   nat     KUBE-NODEPORTS          rules with --dport that jump to a KUBE-
//                                   chain; kube-proxy writes two for each port
//   filter  KUBE-EXTERNAL-SERVICES  REJECT and DROP for --dst-type LOCAL with
//                                   --dport: NodePorts without endpoints
//   nat     CNI-HOSTPORT-DNAT       jumps to a CNI-DN- chain, --dport or --dports
//
// The Service is the "namespace/name" that kube-proxy's comment begins with.
// Ignores SCTP. Unknown rules in these chains, and lines that iptables-save does not
// write, are in Reading::skipped by name
// ("line 12: no --dport in a rule of KUBE-NODEPORTS").
// The coverage is kAll where nat has the chain KUBE-NODEPORTS, which kube-proxy's iptables mode
// has without NodePorts, too; else kNone.
// INVALID_ARGUMENT when the output ends before a table does.
absl::StatusOr<SavedRules> ParseIptablesSave(absl::string_view text);

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_IPTABLES_SAVE_H_
