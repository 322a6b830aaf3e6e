// SPDX-License-Identifier: Apache-2.0
#include "cli/args/options.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
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

// Whether "auto" includes this source.
bool AutoHas(abi::Source source, const SourceOptions& options) {
  switch (source) {
    case abi::Source::kKubernetes:
      return options.in_cluster || !options.kubeconfig.empty();
    case abi::Source::kNetfilter:
      return true;
    case abi::Source::kFile:
      return !options.nodeports_file.empty();
    case abi::Source::kProbe:
      break;
  }
  return false;
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
      !(automatic && AutoHas(abi::Source::kKubernetes, options))) {
    return UsageError(
        "--kube-api-server: is not used unless --source has kubernetes, or auto in a pod with a "
        "service account or with --kubeconfig");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<abi::Source>> EffectiveSources(const SourceOptions& options) {
  const auto has = [&](absl::string_view name) {
    return std::find(options.sources.begin(), options.sources.end(), name) != options.sources.end();
  };
  const auto named = [&](abi::Source source) { return has(abi::Name(source)); };
  const bool automatic = has(kAutoSource);
  NPG_RETURN_IF_ERROR(CheckKubernetesFlags(options, named(abi::Source::kKubernetes), automatic));
  const bool has_file = !options.nodeports_file.empty();
  if (named(abi::Source::kFile) && !has_file) {
    return UsageError("--source file: needs --nodeports-file FILE");
  }
  if (has_file && !named(abi::Source::kFile) && !automatic) {
    return UsageError("--nodeports-file: is not read unless --source has auto or file");
  }
  std::vector<abi::Source> sources;
  for (const auto& row : abi::kSources) {
    if (named(row.value) || (automatic && AutoHas(row.value, options))) {
      sources.push_back(row.value);
    }
  }
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
