// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_
#define NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "kubernetes/cluster_access.h"

namespace npg::kubernetes {

inline constexpr size_t kMaxKubeconfigBytes = size_t{1} << 20;

// The access that `context` of a kubeconfig (YAML or JSON) stands for, or its
// current-context when `context` is empty. As with kubectl, relative file names
// start at the kubeconfig's folder, data wins over a file, and tokenFile over
// token. The files it names are not read here: they rotate.
//
// Errors name the file and what to do, never a value that may be secret: the
// file cannot be read, is no regular file, is larger than kMaxKubeconfigBytes,
// no YAML (aliases are none here), no Config, or ambiguous (a name or a key
// twice); the context, its cluster or its user is missing. Refused by name is
// what this program does not do: exec plugins, auth-provider, username and
// password, impersonation, insecure-skip-tls-verify, a server without https;
// and so are a certificate without key, and data that is no base64 of PEM. A
// user without any credentials is anonymous, which is for the server to judge.
absl::StatusOr<ClusterAccess> LoadKubeconfig(const std::string& path, const std::string& context);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_
