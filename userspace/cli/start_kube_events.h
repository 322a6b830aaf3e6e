// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_
#define NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_

#include <memory>

#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "serve/kube_event_poster.h"
#include "serve/node_view.h"

namespace npg::cli {

// Begins to send Events of the conflicts that `view` shows. nullptr where none are
// wanted, where the source kubernetes is not in use, and, with a word in the log,
// where it cannot be done: a node is guarded without them, too.
std::unique_ptr<serve::KubeEventPoster> StartKubeEvents(const RunOptions& options,
                                                        const Environment& environment,
                                                        serve::NodeView& view);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_
