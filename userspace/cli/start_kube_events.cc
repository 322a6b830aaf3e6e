// SPDX-License-Identifier: Apache-2.0
#include "cli/start_kube_events.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/build_info.h"
#include "cli/load_access.h"
#include "serve/kube_event_counts.h"
#include "serve/kube_event_poster.h"
#include "serve/node_view.h"

namespace npg::cli {
namespace {

// The name that kubelet gives a node by default.
std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name.front() == '\0') return "unknown";
  return absl::AsciiStrToLower(name.data());
}

}  // namespace

bool WantsKubeEvents(const RunOptions& options) {
  const absl::StatusOr<std::vector<abi::Source>> sources = EffectiveSources(options.sources);
  return options.kube_events && sources.ok() &&
         std::find(sources->begin(), sources->end(), abi::Source::kKubernetes) != sources->end();
}

absl::Status KubeEventSender::Start(const RunOptions& options, const Environment& environment,
                                    std::shared_ptr<serve::NodeView> view) {
  auto access = LoadAccess(options.sources, environment);
  if (!access.ok()) return access.status();
  serve::KubeEventPoster::Options settings;
  settings.poll = options.intervals.kube_events;
  settings.user_agent = absl::StrCat("nodeport-guard/", Version());
  settings.events.reporter.node = options.node_name.empty() ? HostName() : options.node_name;
  settings.events.reporter.enforcing = options.mode == abi::Mode::kEnforce;
  auto poster = serve::KubeEventPoster::Start(*std::move(access), *view, std::move(settings));
  if (!poster.ok()) return poster.status();
  view_ = std::move(view);
  const std::lock_guard lock(mutex_);
  poster_ = *std::move(poster);
  return absl::OkStatus();
}

serve::KubeEventCounts KubeEventSender::counts() const {
  const std::lock_guard lock(mutex_);
  return poster_ ? poster_->counts() : serve::KubeEventCounts();
}

}  // namespace npg::cli
