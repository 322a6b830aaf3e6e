// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_
#define NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_

#include <memory>

#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "serve/kube_event_poster.h"
#include "serve/node_view.h"

namespace npg::cli {

// Starts to send Events for the conflicts, binds and port ranges in `view`. nullptr if Events are
// disabled, if the source kubernetes is not in use, or, with a log line, on an error: the guard
// works without them.
std::unique_ptr<serve::KubeEventPoster> StartKubeEvents(const RunOptions& options,
                                                        const Environment& environment,
                                                        serve::NodeView& view);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_
