// SPDX-License-Identifier: Apache-2.0
#include "cli/args/options.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "cli/exit_code.h"
#include "core/mark.h"
#include "core/port.h"

namespace npg::cli {
namespace {

bool AutoHasKubernetes(const SourceOptions& options) {
  return options.in_cluster || !options.kubeconfig.empty();
}

// `kubernetes` and `automatic`: whether --source has them.
absl::Status CheckKubernetesFlags(const SourceOptions& options, bool kubernetes, bool automatic) {
  if (!options.kube_context.empty() && options.kubeconfig.empty()) {
    return UsageError("--kube-context: needs --kubeconfig FILE");
  }
  if (!options.kubeconfig.empty() && !kubernetes && !automatic) {
    return UsageError("--kubeconfig: is not read unless --source has auto or kubernetes");
  }
  if (!options.kube_api_server.empty() && !kubernetes &&
      !(automatic && AutoHasKubernetes(options))) {
    return UsageError(
        "--kube-api-server: is not asked unless --source has kubernetes, or auto in a pod with a "
        "service account or with --kubeconfig");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> EffectiveSources(const SourceOptions& options) {
  const auto named = [&](absl::string_view name) {
    return std::find(options.sources.begin(), options.sources.end(), name) != options.sources.end();
  };
  NPG_RETURN_IF_ERROR(CheckKubernetesFlags(options, named("kubernetes"), named("auto")));
  const bool has_file = !options.nodeports_file.empty();
  if (named("file") && !has_file) {
    return UsageError("--source file: needs --nodeports-file FILE");
  }
  if (has_file && !named("file") && !named("auto")) {
    return UsageError("--nodeports-file: is not read unless --source has auto or file");
  }
  std::vector<std::string> sources;
  if (named("kubernetes") || (named("auto") && AutoHasKubernetes(options))) {
    sources.emplace_back("kubernetes");
  }
  if (named("netfilter") || named("auto")) sources.emplace_back("netfilter");
  if (has_file) sources.emplace_back("file");
  return sources;
}

absl::StatusOr<core::Mark> CombineMark(std::optional<uint32_t> mark, std::optional<uint32_t> mask) {
  core::Mark result;
  if (mark) result = {*mark, *mark};
  if (mask) result.mask = *mask;
  if ((result.value & ~result.mask) != 0) {
    return UsageError(absl::StrCat("--mark ", core::HexText(result.value),
                                   ": has bits outside --mark-mask ", core::HexText(result.mask)));
  }
  return result;
}

}  // namespace npg::cli
