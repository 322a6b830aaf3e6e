// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_STATUS_PAGE_H_
#define NODEPORT_GUARD_SERVE_STATUS_PAGE_H_

#include <string>

#include "absl/time/time.h"
#include "inspect/status.h"
#include "log/health.h"

namespace npg::serve {

// The input of the status page.
struct PageInput {
  const inspect::Status* status = nullptr;  // nullptr: `error` has the reason
  std::string error;
  log::HealthAnswer live;
  log::HealthAnswer ready;
  std::string node;    // its name
  std::string kernel;  // "6.12.48 x86_64"
  bool has_metrics = false;
  absl::Time now;
};

// A self-contained HTML page with style and script. Without the script, the browser
// reloads the page to keep it current.
std::string RenderStatusPage(const PageInput& input);

// The Content-Security-Policy that allows only what the page needs.
std::string StatusPagePolicy();

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_STATUS_PAGE_H_
