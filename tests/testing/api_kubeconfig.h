// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_KUBECONFIG_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_KUBECONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "testing/api_server.h"

namespace npg::testing {

enum class KubeconfigUser { kToken, kTokenFile, kClientCertificate, kNobody };

struct KubeconfigOptions {
  KubeconfigUser user = KubeconfigUser::kToken;
  std::string server = {};  // empty: url() of the server
  // False: CA, certificate and key are files beside the kubeconfig, named by
  // relative paths: PATH.ca.crt, PATH.client.crt, PATH.client.key.
  bool embed = true;
  bool skip_tls_verify = false;  // without a CA then
  std::string tls_server_name = {};
};

// Writes a kubeconfig for `server`, as kubectl reads it. The token file of
// kTokenFile is PATH.token.
absl::Status WriteKubeconfig(const ApiServer& server, const std::string& path,
                             const KubeconfigOptions& options = {});

// Writes the files of /var/run/secrets/kubernetes.io/serviceaccount of a pod,
// token, ca.crt and namespace, into the existing `folder`.
absl::Status WriteServiceAccount(const ApiServer& server, const std::string& folder);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_KUBECONFIG_H_
