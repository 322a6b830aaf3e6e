// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_GUARD_START_H_
#define NODEPORT_GUARD_CONTROLLER_GUARD_START_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/controller.h"
#include "core/mark.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"

// The steps by which programs and table appear together or not at all, and an earlier run's are
// adopted.
namespace npg::controller {

// What an earlier run left, or the defaults.
struct FormerRun {
  // The traffic that may not be exempted before the first self-probe.
  abi::TrafficBits aside = abi::AllTraffic();
  bool aside_known = false;  // the earlier run left it
  // An adopted guard sets its own mark until its programs are replaced.
  std::optional<core::Mark> mark;
  dataplane::BpfGuard::FormerMaps maps;
};

// Loads the programs, and logs notes on the adoption. FAILED_PRECONDITION for pins of another
// network namespace than that of `netns_cookie`: a DaemonSet without hostNetwork would turn the
// node's guard towards its own pod.
absl::StatusOr<std::unique_ptr<dataplane::BpfGuard>> LoadGuard(const Options& options,
                                                               uint64_t netns_cookie);

// Before settings are written.
absl::StatusOr<FormerRun> ReadFormerRun(const dataplane::BpfGuard& guard);

// The settings for BpfGuard::Attach().
abi::Config ConfigFor(const Options& options, uint64_t netns_cookie, const FormerRun& former);

// After a start that did not attach the programs: leaves everything as the earlier run left it.
void UndoStart(dataplane::BpfGuard& guard, dataplane::NftTable& table, const FormerRun& former);

// After a start that attached them, and then failed: removes the guard again, unless that was
// adopted.
void RemoveStarted(const Options& options, const dataplane::BpfGuard& guard,
                   dataplane::NftTable& table);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_GUARD_START_H_
