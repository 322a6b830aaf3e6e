// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_SERVER_URL_H_
#define NODEPORT_GUARD_KUBERNETES_SERVER_URL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::kubernetes {

// The URL of an API server: "https://HOST[:PORT][/PATH]", an IPv6 address in
// brackets. Returns it without trailing slashes. INVALID_ARGUMENT has the fault and the
// remedy, to be put after the name of the URL's place. Refuses http, which would send a
// token in the clear, and a user name, a query or a fragment; never quotes what may be a
// secret.
absl::StatusOr<std::string> CheckServerUrl(absl::string_view url);

// Checks the URL of a proxy in a kubeconfig: http, https or socks5 (where the proxy
// resolves names), optionally with user and password. INVALID_ARGUMENT never quotes it.
absl::Status CheckProxyUrl(absl::string_view url);

// Checks a host name or an IP address, as in a certificate. INVALID_ARGUMENT for anything
// else.
absl::Status CheckHostName(absl::string_view name);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_SERVER_URL_H_
