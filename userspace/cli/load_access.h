// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_LOAD_ACCESS_H_
#define NODEPORT_GUARD_CLI_LOAD_ACCESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "kubernetes/cluster_access.h"

namespace npg::cli {

// How to reach the API server: by --kubeconfig, else by the files of KUBECONFIG, else with
// the service account of this pod, whose files are below `root`; at --kube-api-server, if
// that is given.
// A usage error if there is neither; otherwise the errors of LoadKubeconfig() and
// LoadInCluster().
absl::StatusOr<kubernetes::ClusterAccess> LoadAccess(const SourceOptions& options,
                                                     const Environment& environment,
                                                     const std::string& root = "");

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_LOAD_ACCESS_H_
