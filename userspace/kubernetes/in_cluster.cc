// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/in_cluster.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "core/port.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/server_url.h"

namespace npg::kubernetes {
namespace {

constexpr const char* kFolder = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr const char* kHost = "KUBERNETES_SERVICE_HOST";
constexpr const char* kPort = "KUBERNETES_SERVICE_PORT";
constexpr size_t kMaxCaBytes = size_t{1} << 20;

std::string Variable(const Environment& environment, const char* name) {
  return environment(name).value_or("");
}

absl::Status NotSet(const char* name) {
  return absl::FailedPreconditionError(absl::StrCat(
      name,
      " is not set, as kubelet does in every pod; pass the container's environment on, "
      "or name the API server with --kube-api-server"));
}

absl::Status CheckCa(const std::string& path) {
  const absl::StatusOr<std::string> ca = base::ReadSmallFile(path, kMaxCaBytes);
  if (!ca.ok()) {
    return {ca.status().code(),
            absl::StrCat("service account: CA file ", ca.status().message(),
                         "; mount the ConfigMap kube-root-ca.crt as ca.crt there")};
  }
  if (absl::StrContains(*ca, "-----BEGIN CERTIFICATE-----")) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("service account: CA file ", path,
                   ": holds no certificate in PEM; mount the ConfigMap kube-root-ca.crt there"));
}

}  // namespace

bool InCluster(const Environment& environment, const std::string& root) {
  if (Variable(environment, kHost).empty() || Variable(environment, kPort).empty()) return false;
  std::error_code error;
  return std::filesystem::is_regular_file(absl::StrCat(root, kFolder, "/token"), error);
}

absl::StatusOr<ClusterAccess> LoadServiceAccount(const std::string& root) {
  const std::string folder = absl::StrCat(root, kFolder);
  ClusterAccess access;
  access.token_file = absl::StrCat(folder, "/token");
  access.ca.file = absl::StrCat(folder, "/ca.crt");
  access.origin = absl::StrCat("service account in ", folder);
  const absl::StatusOr<std::string> token = ReadToken(access);
  if (absl::IsNotFound(token.status())) {
    return absl::NotFoundError(absl::StrCat(
        "service account: token file ", access.token_file,
        ": No such file or directory; set automountServiceAccountToken: true in the pod (one "
        "with hostNetwork needs it, too), or name a kubeconfig with --kubeconfig"));
  }
  if (!token.ok()) return base::Annotate(token.status(), "service account");
  NPG_RETURN_IF_ERROR(CheckCa(access.ca.file));
  return access;
}

absl::StatusOr<ClusterAccess> LoadInCluster(const Environment& environment,
                                            const std::string& root) {
  const std::string host = Variable(environment, kHost);
  const std::string port = Variable(environment, kPort);
  if (host.empty()) return NotSet(kHost);
  if (port.empty()) return NotSet(kPort);
  if (const absl::Status status = CheckHostName(host); !status.ok()) {
    return base::Annotate(status, kHost);
  }
  if (const auto number = core::ParsePort(port); !number.ok()) {
    return base::Annotate(number.status(), kPort);
  }
  const absl::StatusOr<ClusterAccess> account = LoadServiceAccount(root);
  if (!account.ok()) return account.status();
  const bool ipv6 = absl::StrContains(host, ':');
  return WithServer(*account,
                    absl::StrCat("https://", ipv6 ? "[" : "", host, ipv6 ? "]" : "", ":", port));
}

}  // namespace npg::kubernetes
