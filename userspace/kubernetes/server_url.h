// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_SERVER_URL_H_
#define NODEPORT_GUARD_KUBERNETES_SERVER_URL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::kubernetes {

// The URL of an API server: "https://HOST[:PORT][/PATH]", an IPv6 address in
// brackets. Returns it without trailing slashes. INVALID_ARGUMENT says what is
// wrong and what to write, to be put behind the name of the place that the URL
// is from. http is refused, for a token would go over the wire in the clear, and
// so is a user name, a query or a fragment; whatever might hold a secret is not
// quoted.
absl::StatusOr<std::string> CheckServerUrl(absl::string_view url);

// The URL of a proxy as a kubeconfig may name it: http, https or socks5 (which
// leaves the resolving of names to the proxy), maybe with a user and password.
// INVALID_ARGUMENT never quotes it.
absl::Status CheckProxyUrl(absl::string_view url);

// A host name or an IP address, as a certificate names it. INVALID_ARGUMENT
// for anything else.
absl::Status CheckHostName(absl::string_view name);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_SERVER_URL_H_
