// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_MAKE_SOURCES_H_
#define NODEPORT_GUARD_CLI_MAKE_SOURCES_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "core/intervals.h"
#include "sources/netfilter_reader.h"
#include "sources/source.h"

namespace npg::cli {

// Creates the sources that the options select, to read each once; none is read yet. `own`: the
// addresses besides loopback that are guarded; null: none. Errors as those of EffectiveSources()
// and LoadAccess().
absl::StatusOr<std::vector<std::unique_ptr<sources::Source>>> MakeSources(
    const SourceOptions& options, const Environment& environment,
    const sources::NetfilterEdges::OwnAddresses& own);

// The same, to follow them. Only usage errors end it: a kubeconfig or service account that is
// missing or malformed is an error of its source, which waits for it.
absl::StatusOr<std::vector<std::unique_ptr<sources::Source>>> MakeFollowedSources(
    const SourceOptions& options, const Environment& environment, const core::Intervals& intervals,
    const sources::NetfilterEdges::OwnAddresses& own);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_MAKE_SOURCES_H_
