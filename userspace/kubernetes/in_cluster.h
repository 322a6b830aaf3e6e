// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_IN_CLUSTER_H_
#define NODEPORT_GUARD_KUBERNETES_IN_CLUSTER_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kubernetes/cluster_access.h"

namespace npg::kubernetes {

// Looks up an environment variable.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// The environment that kubelet gives to a pod. `root` is put before every path; "" for
// the real files.

// True in a pod with a service account: KUBERNETES_SERVICE_HOST and
// KUBERNETES_SERVICE_PORT are set and the token is mounted. A pod without a token
// (automountServiceAccountToken: false) is not supposed to use the API.
bool InCluster(const Environment& environment, const std::string& root);

// Token and CA of the pod's service account, without a server: for WithServer(). Errors
// name the missing or unusable file, and what to change in the pod. A missing CA is an
// error: the system's CAs are not those of the cluster.
absl::StatusOr<ClusterAccess> LoadServiceAccount(const std::string& root);

// The same with the server that the environment names. Errors also name the
// variable that is missing (FAILED_PRECONDITION) or has no valid value.
absl::StatusOr<ClusterAccess> LoadInCluster(const Environment& environment,
                                            const std::string& root);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_IN_CLUSTER_H_
