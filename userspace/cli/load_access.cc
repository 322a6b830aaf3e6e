// SPDX-License-Identifier: Apache-2.0
#include "cli/load_access.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/exit_code.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/in_cluster.h"
#include "kubernetes/kubeconfig.h"

namespace npg::cli {
namespace {

using kubernetes::ClusterAccess;

absl::StatusOr<ClusterAccess> Load(const SourceOptions& options, const Environment& environment,
                                   const std::string& root) {
  if (!options.kubeconfig.empty()) {
    return kubernetes::LoadKubeconfig(options.kubeconfig, options.kube_context);
  }
  if (const std::string paths = environment("KUBECONFIG").value_or(""); !paths.empty()) {
    return kubernetes::LoadKubeconfigs(paths, options.kube_context);
  }
  // --kube-api-server replaces the variables.
  if (!options.kube_api_server.empty()) return kubernetes::LoadServiceAccount(root);
  if (environment("KUBERNETES_SERVICE_HOST").value_or("").empty()) {
    return UsageError(
        "--source kubernetes: needs --kubeconfig FILE, or a pod with a service account, which this "
        "is not (KUBERNETES_SERVICE_HOST is not set)");
  }
  return kubernetes::LoadInCluster(environment, root);
}

}  // namespace

absl::StatusOr<ClusterAccess> LoadAccess(const SourceOptions& options,
                                         const Environment& environment, const std::string& root) {
  absl::StatusOr<ClusterAccess> access = Load(options, environment, root);
  if (!access.ok()) return access.status();
  if (options.kube_api_server.empty()) return access;
  return kubernetes::WithServer(*std::move(access), options.kube_api_server);
}

}  // namespace npg::cli
