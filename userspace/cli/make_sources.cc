// SPDX-License-Identifier: Apache-2.0
#include "cli/make_sources.h"

#include <memory>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
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

namespace {

absl::StatusOr<std::unique_ptr<sources::Source>> MakeSource(abi::Source source,
                                                            const SourceOptions& options,
                                                            const Environment& environment,
                                                            const core::Intervals& intervals) {
  switch (source) {
    case abi::Source::kKubernetes: {
      const auto load = [options, environment] { return LoadAccess(options, environment); };
      // A kubeconfig may be written later, as on a node that joins its cluster.
      const bool by_kubeconfig =
          !options.kubeconfig.empty() || !environment("KUBECONFIG").value_or("").empty();
      const absl::Status loaded = load().status();
      if (!loaded.ok() && !(by_kubeconfig && absl::IsNotFound(loaded))) return loaded;
      sources::KubernetesSource::Options kubernetes;
      kubernetes.user_agent = absl::StrCat("nodeport-guard/", Version());
      kubernetes.timeouts.keepalive_idle = intervals.keepalive_idle;
      kubernetes.timeouts.keepalive_interval = intervals.keepalive_interval;
      return std::make_unique<sources::KubernetesSource>(load, std::move(kubernetes));
    }
    case abi::Source::kNetfilter:
      return std::make_unique<sources::NetfilterSource>(
          sources::NetfilterEdges::OfThisNamespace(),
          sources::NetfilterSource::Options{.poll = intervals.rules});
    case abi::Source::kFile:
      return std::make_unique<sources::FileSource>(options.nodeports_file);
    case abi::Source::kProbe:
      break;
  }
  return absl::InternalError(absl::StrCat("no source can be made of ", abi::Name(source)));
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<sources::Source>>> MakeSources(
    const SourceOptions& options, const Environment& environment,
    const core::Intervals& intervals) {
  const absl::StatusOr<std::vector<abi::Source>> sources = EffectiveSources(options);
  if (!sources.ok()) return sources.status();
  std::vector<std::unique_ptr<sources::Source>> made;
  for (const abi::Source source : *sources) {
    auto one = MakeSource(source, options, environment, intervals);
    if (!one.ok()) return one.status();
    made.push_back(*std::move(one));
  }
  return made;
}

}  // namespace npg::cli
