// SPDX-License-Identifier: Apache-2.0
#include "controller/unload.h"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigwait() is POSIX, not <csignal>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "cli/args/options.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/node_paths.h"
#include "cli/output.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::cli {
namespace {

absl::StatusOr<int> StayUntilToldToGo() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) {
    return base::ErrnoStatus(errno, "block signals");
  }
  NPG_RETURN_IF_ERROR(WriteOut("done; waiting for SIGTERM (--stay)\n"));
  int signal = 0;
  if (const int error = sigwait(&signals, &signal); error != 0) {
    return base::ErrnoStatus(error, "wait for SIGTERM");
  }
  return kExitOk;
}

}  // namespace

absl::StatusOr<int> Execute(const UnloadOptions& options) {
  if (!options.node.cgroup.empty()) NPG_RETURN_IF_ERROR(CheckCgroup(options.node.cgroup));
  // The removal must complete even if the reader of the report closes the pipe.
  signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): cannot fail for this signal
  controller::UnloadOptions unload;
  unload.pins = dataplane::PinPaths(options.node.bpffs);
  unload.drain = absl::Seconds(options.drain_seconds);
  absl::Status written;
  unload.report = [&written](absl::string_view line) {
    written.Update(WriteOut(absl::StrCat(line, "\n")));
  };
  NPG_RETURN_IF_ERROR(controller::Unload(unload));
  NPG_RETURN_IF_ERROR(written);
  if (options.stay) return StayUntilToldToGo();
  return kExitOk;
}

}  // namespace npg::cli
