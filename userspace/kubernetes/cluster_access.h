// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_CLUSTER_ACCESS_H_
#define NODEPORT_GUARD_KUBERNETES_CLUSTER_ACCESS_H_

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::kubernetes {

// Certificates or a key in PEM: in a file, which is read for every connection because it
// rotates, or inline. At most one of the two is set.
struct Pem {
  std::string file;
  std::string data;

  bool empty() const { return file.empty() && data.empty(); }
  bool operator==(const Pem&) const = default;
};

// The address of an API server and the credentials for it. LoadInCluster() and
// LoadKubeconfig() make it, and check it as far as that is possible without a
// connection. TLS is always verified. No token and no certificate: anonymous.
struct ClusterAccess {
  std::string server;           // "https://10.96.0.1:443", maybe with a path, no trailing slash
  std::string tls_server_name;  // the name to verify instead of the server's host; empty: that host
  std::string proxy_url;        // http, https or socks5; empty: see proxy.h
  Pem ca;                       // empty: the system's CAs
  Pem client_certificate;       // set if and only if client_key is
  Pem client_key;
  std::string token;       // inline bearer token
  std::string token_file;  // overrides `token`; read for each request, because it rotates
  std::string origin;      // for messages: "kubeconfig /x, context y"

  bool operator==(const ClusterAccess&) const = default;
};

// Returns the access for the next request, because a kubeconfig may appear or change.
using AccessLoader = std::function<absl::StatusOr<ClusterAccess>()>;

// Far more than any token, also a JWT of a service account, has.
inline constexpr size_t kMaxTokenBytes = size_t{64} << 10;

// The present bearer token; "" when there is none. Strips white space around it, as
// Kubernetes' clients do. Errors contain the file and a remedy, never the token: a file
// that is missing, not readable, empty or larger than kMaxTokenBytes, and a token that is
// not visible ASCII, which could break or inject headers.
absl::StatusOr<std::string> ReadToken(const ClusterAccess& access);

// Checks an inline token. INVALID_ARGUMENT has the reason, to be put after the name of
// its place.
absl::Status CheckToken(absl::string_view token);

// The same access with another server (--kube-api-server), which is verified
// under its own name. Errors as those of CheckServerUrl().
absl::StatusOr<ClusterAccess> WithServer(ClusterAccess access, absl::string_view url);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_CLUSTER_ACCESS_H_
