// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_
#define NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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

// The same for several files with colons between them, as in KUBECONFIG, which are merged
// by kubectl's rules: of each context, cluster and user, the first file that has one of
// that name counts, with all of its members; the first current-context that is not empty
// counts. Files that are missing are left out; all of them missing is NOT_FOUND. An error
// in any other file is an error.
absl::StatusOr<ClusterAccess> LoadKubeconfigs(absl::string_view paths, const std::string& context);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_KUBECONFIG_H_
