// SPDX-License-Identifier: Apache-2.0
#include "cli/make_sources.h"

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/build_info.h"
#include "cli/exit_code.h"
#include "cli/load_access.h"
#include "core/intervals.h"
#include "sources/file_source.h"
#include "sources/kubernetes/kubernetes_source.h"
#include "sources/netfilter_reader.h"
#include "sources/netfilter_source.h"
#include "sources/retried_source.h"
#include "sources/source.h"

namespace npg::cli {

namespace {

// None for kProbe, which no flag selects.
std::unique_ptr<sources::Source> MakeSource(abi::Source source, const SourceOptions& options,
                                            const Environment& environment,
                                            const core::Intervals& intervals,
                                            absl::Duration read_limit,
                                            const sources::NetfilterEdges::OwnAddresses& own) {
  switch (source) {
    case abi::Source::kKubernetes: {
      sources::KubernetesSource::Options kubernetes;
      kubernetes.user_agent = absl::StrCat("nodeport-guard/", Version());
      kubernetes.timeouts.keepalive_idle = intervals.keepalive_idle;
      kubernetes.timeouts.keepalive_interval = intervals.keepalive_interval;
      kubernetes.reflector.access_retry = intervals.retry;
      return std::make_unique<sources::KubernetesSource>(
          [options, environment] { return LoadAccess(options, environment); },
          std::move(kubernetes));
    }
    case abi::Source::kNetfilter:
      return std::make_unique<sources::NetfilterSource>(
          sources::NetfilterEdges::OfThisNamespace(own),
          sources::NetfilterSource::Options{.poll = intervals.rules, .read_limit = read_limit});
    case abi::Source::kFile:
      return std::make_unique<sources::FileSource>(options.nodeports_file);
    case abi::Source::kProbe:
      break;
  }
  return nullptr;
}

// The effective sources. An error for which `refuse` is true of the access to the API server is
// returned.
absl::StatusOr<std::vector<abi::Source>> CheckedSources(
    const SourceOptions& options, const Environment& environment,
    const std::function<bool(const absl::Status&)>& refuse) {
  absl::StatusOr<std::vector<abi::Source>> sources = EffectiveSources(options);
  if (!sources.ok()) return sources.status();
  for (const abi::Source source : *sources) {
    if (source == abi::Source::kProbe) {
      return absl::InternalError(absl::StrCat("no source can be made of ", abi::Name(source)));
    }
    if (source != abi::Source::kKubernetes) continue;
    const absl::Status access = LoadAccess(options, environment).status();
    if (refuse(access)) return access;
  }
  return sources;
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<sources::Source>>> MakeSources(
    const SourceOptions& options, const Environment& environment,
    const sources::NetfilterEdges::OwnAddresses& own) {
  const absl::StatusOr<std::vector<abi::Source>> sources =
      CheckedSources(options, environment, [](const absl::Status& access) { return !access.ok(); });
  if (!sources.ok()) return sources.status();
  std::vector<std::unique_ptr<sources::Source>> made;
  for (const abi::Source source : *sources) {
    made.push_back(MakeSource(source, options, environment, {}, absl::InfiniteDuration(), own));
  }
  return made;
}

absl::StatusOr<std::vector<std::unique_ptr<sources::Source>>> MakeFollowedSources(
    const SourceOptions& options, const Environment& environment, const core::Intervals& intervals,
    const sources::NetfilterEdges::OwnAddresses& own) {
  const absl::StatusOr<std::vector<abi::Source>> sources =
      CheckedSources(options, environment, IsUsageError);
  if (!sources.ok()) return sources.status();
  std::vector<std::unique_ptr<sources::Source>> made;
  for (const abi::Source source : *sources) {
    made.push_back(std::make_unique<sources::RetriedSource>(
        [source, options, environment, intervals, own] {
          return MakeSource(source, options, environment, intervals, intervals.first_reading, own);
        },
        intervals.retry));
  }
  return made;
}

}  // namespace npg::cli
