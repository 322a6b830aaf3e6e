// SPDX-License-Identifier: Apache-2.0
#include "cli/start_kube_events.h"

#include <spdlog/common.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/build_info.h"
#include "cli/load_access.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "inspect/guard_facts.h"
#include "inspect/port_advice.h"
#include "inspect/status.h"
#include "log/fields.h"
#include "log/log.h"
#include "serve/kube_event_poster.h"
#include "serve/node_advice.h"
#include "serve/node_view.h"

namespace npg::cli {
namespace {

// The name that kubelet gives a node by default.
std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name.front() == '\0') return "unknown";
  return absl::AsciiStrToLower(name.data());
}

// Advice about the node's port ranges; empty where this controller keeps NodePorts out of them.
std::string AdviceFor(const inspect::Status& status, abi::ReservePorts reserve) {
  const inspect::GuardFacts& facts = status.facts;
  if (!facts.overlap) return "";
  if (reserve != abi::ReservePorts::kOff &&
      facts.protection.reserve_state != abi::ReserveState::kTooFew) {
    return "";
  }
  return inspect::OverlapAdvice(*facts.overlap);
}

// When it was sent is kept in the pins, so that a restart does not send it again.
serve::NodeAdvice::Options AdviceOptions(const RunOptions& options, std::string node) {
  const dataplane::PinPaths pins(options.node.bpffs);
  serve::NodeAdvice::Options advice;
  advice.node = std::move(node);
  advice.spread = options.intervals.node_advice;
  advice.last_sent = [pins] { return dataplane::ReadAdviceSent(pins); };
  advice.sent = [pins](absl::Time sent) {
    if (const absl::Status status = dataplane::WriteAdviceSent(pins, sent); !status.ok()) {
      log::Log(
          spdlog::level::warn,
          absl::StrCat("a restart will send the Event about port ranges again: ", status.message()),
          {});
    }
  };
  return advice;
}

absl::StatusOr<std::unique_ptr<serve::KubeEventPoster>> Start(const RunOptions& options,
                                                              const Environment& environment,
                                                              serve::NodeView& view) {
  serve::KubeEventPoster::Options poster;
  poster.poll = options.intervals.kube_events;
  poster.events.spread = 2 * options.intervals.kube_events;
  poster.user_agent = absl::StrCat("nodeport-guard/", Version());
  poster.events.reporter.node = options.node_name.empty() ? HostName() : options.node_name;
  poster.events.reporter.enforcing = options.mode == abi::Mode::kEnforce;
  poster.events.reporter.refusing = options.bind_protection == abi::BindProtection::kDeny;
  poster.advice = [reserve = options.reserve_ports](const inspect::Status& status) {
    return AdviceFor(status, reserve);
  };
  poster.node_advice = AdviceOptions(options, poster.events.reporter.node);
  return serve::KubeEventPoster::Start(
      [sources = options.sources, environment] { return LoadAccess(sources, environment); }, view,
      std::move(poster));
}

}  // namespace

std::unique_ptr<serve::KubeEventPoster> StartKubeEvents(const RunOptions& options,
                                                        const Environment& environment,
                                                        serve::NodeView& view) {
  const absl::StatusOr<std::vector<abi::Source>> sources = EffectiveSources(options.sources);
  if (!options.kube_events || !sources.ok() ||
      std::find(sources->begin(), sources->end(), abi::Source::kKubernetes) == sources->end()) {
    return nullptr;
  }
  auto poster = Start(options, environment, view);
  if (!poster.ok()) {
    log::Log(spdlog::level::warn,
             absl::StrCat("Kubernetes Events are not sent: ", poster.status().message()), {});
    return nullptr;
  }
  return *std::move(poster);
}

}  // namespace npg::cli
