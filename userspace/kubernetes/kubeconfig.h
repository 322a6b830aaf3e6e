// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_
#define NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "kubernetes/cluster_access.h"

namespace npg::kubernetes {

inline constexpr size_t kMaxKubeconfigBytes = size_t{1} << 20;

// The access of `context` in a kubeconfig (YAML or JSON), or of its current-context when
// `context` is empty. As with kubectl, relative file names are relative to the
// kubeconfig's folder, data overrides a file, and tokenFile overrides token. The files
// that it names are not read here, because they rotate.
//
// Errors contain the file and a remedy, never a value that may be secret: the file cannot
// be read, is no regular file, is larger than kMaxKubeconfigBytes, no YAML (aliases are
// not supported), no Config, or ambiguous (a repeated name or key); the context, its
// cluster or its user is missing. Unsupported features are errors: exec plugins,
// auth-provider, username and password, impersonation, insecure-skip-tls-verify, a server
// without https; also a certificate without key, and data that is no base64 of PEM. A
// user without credentials is anonymous; the server decides whether to accept that.
absl::StatusOr<ClusterAccess> LoadKubeconfig(const std::string& path, const std::string& context);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_
