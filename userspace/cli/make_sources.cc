// SPDX-License-Identifier: Apache-2.0
#include "cli/make_sources.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/build_info.h"
#include "cli/load_access.h"
#include "core/intervals.h"
#include "sources/file_source.h"
#include "sources/kubernetes/kubernetes_source.h"
#include "sources/netfilter_source.h"
#include "sources/source.h"

namespace npg::cli {

absl::StatusOr<std::vector<std::unique_ptr<sources::Source>>> MakeSources(
    const SourceOptions& options, const Environment& environment,
    const core::Intervals& intervals) {
  const absl::StatusOr<std::vector<std::string>> names = EffectiveSources(options);
  if (!names.ok()) return names.status();
  std::vector<std::unique_ptr<sources::Source>> made;
  for (const std::string& name : *names) {
    if (name == "kubernetes") {
      auto access = LoadAccess(options, environment);
      if (!access.ok()) return access.status();
      sources::KubernetesSource::Options kubernetes;
      kubernetes.user_agent = absl::StrCat("nodeport-guard/", Version());
      kubernetes.timeouts.keepalive_idle = intervals.keepalive_idle;
      kubernetes.timeouts.keepalive_interval = intervals.keepalive_interval;
      made.push_back(
          std::make_unique<sources::KubernetesSource>(*std::move(access), std::move(kubernetes)));
    } else if (name == "file") {
      made.push_back(std::make_unique<sources::FileSource>(options.nodeports_file));
    } else {
      made.push_back(std::make_unique<sources::NetfilterSource>(
          sources::NetfilterEdges::OfThisNamespace(),
          sources::NetfilterSource::Options{.poll = intervals.rules}));
    }
  }
  return made;
}

}  // namespace npg::cli
