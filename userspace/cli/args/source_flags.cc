// SPDX-License-Identifier: Apache-2.0
#include "cli/args/source_flags.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/printable.h"
#include "cli/args/environment.h"
#include "cli/args/flags.h"
#include "cli/args/options.h"
#include "kubernetes/in_cluster.h"
#include "kubernetes/server_url.h"

namespace npg::cli {
namespace {

// The values of --source.
std::vector<absl::string_view> Choices() {
  std::vector<absl::string_view> choices = {kAutoSource};
  for (const auto& row : abi::kSources) choices.push_back(row.name);
  return choices;
}

std::string SourceHelp() {
  const auto clause = [](std::string* out, const abi::SourceRow& row) {
    absl::StrAppend(out, row.name, " ", row.reads);
  };
  return absl::StrCat(
      "Where allocated NodePorts are read from: ", absl::StrJoin(abi::kSources, ", ", clause),
      ". auto is netfilter, with kubernetes in a pod that has a service account or if --kubeconfig "
      "is given, and with file if --nodeports-file is given. Can be repeated.");
}

Flag SourceFlag(const std::shared_ptr<SourceOptions>& sources) {
  return {"source",
          absl::StrJoin(Choices(), "|"),
          SourceHelp(),
          std::string(kAutoSource),
          true,
          [sources](const std::vector<std::string>& values) {
            if (values.empty()) return absl::InvalidArgumentError("names no source");
            const std::vector<absl::string_view> choices = Choices();
            for (const std::string& value : values) {
              if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
                return absl::InvalidArgumentError(absl::StrCat(
                    base::Quoted(value), " is not a source (", absl::StrJoin(choices, ", "), ")"));
              }
            }
            sources->sources = values;
            return absl::OkStatus();
          }};
}

Flag ApiServerFlag(const std::shared_ptr<SourceOptions>& sources) {
  return {"kube-api-server",
          "URL",
          "The API server to use, as https://192.0.2.1:6443. A guard that starts before kube-proxy "
          "cannot reach the API server's default address, which is a ClusterIP.",
          "KUBERNETES_SERVICE_HOST, or the server of the kubeconfig",
          false,
          [sources](const std::vector<std::string>& values) {
            absl::StatusOr<std::string> server = kubernetes::CheckServerUrl(values.back());
            if (!server.ok()) return server.status();
            sources->kube_api_server = *std::move(server);
            return absl::OkStatus();
          }};
}

}  // namespace

void AddSourceFlags(FlagSet& flags, const std::shared_ptr<SourceOptions>& sources) {
  flags.Add(SourceFlag(sources));
  flags.Add(TextFlag("kubeconfig", "FILE",
                     "Reach the API server with this kubeconfig instead of the pod's service "
                     "account. Its user needs a token, a token file or a client certificate, and "
                     "the right to list and watch services. Without it, --source kubernetes uses "
                     "the files of KUBECONFIG, merged as kubectl does.",
                     "", {sources, &sources->kubeconfig}));
  flags.Add(TextFlag("kube-context", "NAME", "The context of --kubeconfig to use.",
                     "its current-context", {sources, &sources->kube_context}));
  flags.Add(ApiServerFlag(sources));
  flags.Add(TextFlag("nodeports-file", "FILE",
                     "NodePorts as YAML or JSON: a list of ports (33589, 33590/udp), or a "
                     "Kubernetes Service or List, as kubectl get svc -A -o yaml prints it.",
                     "", {sources, &sources->nodeports_file}));
}

absl::Status SettleSources(SourceOptions& sources, const Environment& environment) {
  sources.in_cluster = kubernetes::InCluster(environment, "");
  return EffectiveSources(sources).status();
}

}  // namespace npg::cli
