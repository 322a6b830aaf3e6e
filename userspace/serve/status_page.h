// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_STATUS_PAGE_H_
#define NODEPORT_GUARD_SERVE_STATUS_PAGE_H_

#include <string>

#include "absl/time/time.h"
#include "inspect/status.h"
#include "log/health.h"

namespace npg::serve {

// All that the status page shows.
struct PageInput {
  const inspect::Status* status = nullptr;  // nullptr: `error` says why
  std::string error;
  log::HealthAnswer live;
  log::HealthAnswer ready;
  std::string node;    // its name
  std::string kernel;  // "6.12.48 x86_64"
  bool has_metrics = false;
  absl::Time now;
};

// A page of HTML that needs nothing else: style and script are in it, and
// without the script it is as complete, only that the browser loads it anew to
// keep it so.
std::string RenderStatusPage(const PageInput& input);

// The Content-Security-Policy under which the page works, and nothing else does.
std::string StatusPagePolicy();

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_STATUS_PAGE_H_
