// SPDX-License-Identifier: Apache-2.0
#include "testing/api_kubeconfig.h"

#include <filesystem>
#include <fstream>
#include <ios>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "testing/api_server.h"

namespace npg::testing {
namespace {

absl::Status WriteText(const std::string& path, absl::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file) return absl::InternalError(absl::StrCat("write ", path, ": failed"));
  return absl::OkStatus();
}

// Adds `key` to `yaml`: the PEM, or the name of a new file beside `path` with it.
absl::Status AddPem(const std::string& path, bool embed, const std::string& key,
                    const std::string& extension, const std::string& pem, std::string& yaml) {
  if (embed) {
    absl::StrAppend(&yaml, "    ", key, "-data: ", absl::Base64Escape(pem), "\n");
    return absl::OkStatus();
  }
  const std::string file = absl::StrCat(path, ".", extension);
  absl::StrAppend(&yaml, "    ", key, ": ", std::filesystem::path(file).filename().string(), "\n");
  return WriteText(file, pem);
}

absl::Status AddUser(const ApiServer& server, const std::string& path,
                     const KubeconfigOptions& options, std::string& yaml) {
  switch (options.user) {
    case KubeconfigUser::kToken:
      absl::StrAppend(&yaml, "    token: ", server.token(), "\n");
      return absl::OkStatus();
    case KubeconfigUser::kTokenFile:
      absl::StrAppend(&yaml, "    tokenFile: ", path, ".token\n");
      return WriteText(path + ".token", server.token() + "\n");
    case KubeconfigUser::kClientCertificate:
      NPG_RETURN_IF_ERROR(AddPem(path, options.embed, "client-certificate", "client.crt",
                                 server.client_certificate_pem(), yaml));
      return AddPem(path, options.embed, "client-key", "client.key", server.client_key_pem(), yaml);
    case KubeconfigUser::kNobody:
      break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteKubeconfig(const ApiServer& server, const std::string& path,
                             const KubeconfigOptions& options) {
  std::string yaml = absl::StrCat(
      "apiVersion: v1\nkind: Config\ncurrent-context: test\n"
      "contexts:\n- name: test\n  context:\n    cluster: test\n    user: test\n"
      "clusters:\n- name: test\n  cluster:\n    server: ",
      options.server.empty() ? server.url() : options.server, "\n");
  if (!options.tls_server_name.empty()) {
    absl::StrAppend(&yaml, "    tls-server-name: ", options.tls_server_name, "\n");
  }
  if (options.skip_tls_verify) {
    absl::StrAppend(&yaml, "    insecure-skip-tls-verify: true\n");
  } else {
    NPG_RETURN_IF_ERROR(
        AddPem(path, options.embed, "certificate-authority", "ca.crt", server.ca_pem(), yaml));
  }
  const bool anonymous = options.user == KubeconfigUser::kNobody;
  absl::StrAppend(&yaml, "users:\n- name: test\n  user:", anonymous ? " {}\n" : "\n");
  NPG_RETURN_IF_ERROR(AddUser(server, path, options, yaml));
  return WriteText(path, yaml);
}

absl::Status WriteServiceAccount(const ApiServer& server, const std::string& folder) {
  NPG_RETURN_IF_ERROR(WriteText(folder + "/token", server.token()));
  NPG_RETURN_IF_ERROR(WriteText(folder + "/ca.crt", server.ca_pem()));
  return WriteText(folder + "/namespace", "kube-system");
}

}  // namespace npg::testing
