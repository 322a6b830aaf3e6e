// SPDX-License-Identifier: Apache-2.0
#include "abi/guard_abi_text.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "guard_abi.h"

// The layout, spelled out: the pinned maps outlive this program, and bpftool
// and other builds read them. Whoever changes a line here changes what is
// pinned on running nodes, and has to raise NPG_ABI_VERSION.
#define NPG_LAYOUT(type, size)                                               \
  static_assert(sizeof(type) == (size) && std::is_standard_layout_v<type> && \
                std::has_unique_object_representations_v<type>)
#define NPG_FIELD(type, field, offset, size) \
  static_assert(offsetof(type, field) == (offset) && sizeof(type::field) == (size))

static_assert(NPG_ABI_VERSION == 3);

NPG_LAYOUT(npg_port_key, 4);
NPG_FIELD(npg_port_key, port, 0, 2);
NPG_FIELD(npg_port_key, protocol, 2, 1);
NPG_FIELD(npg_port_key, reserved, 3, 1);

NPG_LAYOUT(npg_nodeport, 144);
NPG_FIELD(npg_nodeport, sources, 0, 4);
NPG_FIELD(npg_nodeport, reserved, 4, 4);
NPG_FIELD(npg_nodeport, since, 8, 8);
NPG_FIELD(npg_nodeport, service, 16, 128);

NPG_LAYOUT(npg_listener_key, 20);
NPG_FIELD(npg_listener_key, address, 0, 16);
NPG_FIELD(npg_listener_key, port, 16, 2);
NPG_FIELD(npg_listener_key, protocol, 18, 1);
NPG_FIELD(npg_listener_key, reserved, 19, 1);

NPG_LAYOUT(npg_listener, 40);
NPG_FIELD(npg_listener, verdict, 0, 4);
NPG_FIELD(npg_listener, pid, 4, 4);
NPG_FIELD(npg_listener, uid, 8, 4);
NPG_FIELD(npg_listener, reserved, 12, 4);
NPG_FIELD(npg_listener, comm, 16, 16);
NPG_FIELD(npg_listener, cgroup_id, 32, 8);

NPG_LAYOUT(npg_policy_key, 16);
NPG_FIELD(npg_policy_key, comm, 0, 16);

NPG_LAYOUT(npg_policy, 4);
NPG_FIELD(npg_policy, verdict, 0, 4);

NPG_LAYOUT(npg_port_stats, 40);
NPG_FIELD(npg_port_stats, exempted, 0, 8);
NPG_FIELD(npg_port_stats, observed, 8, 8);
NPG_FIELD(npg_port_stats, last, 16, 8);
NPG_FIELD(npg_port_stats, window, 24, 8);
NPG_FIELD(npg_port_stats, window_events, 32, 4);
NPG_FIELD(npg_port_stats, reserved, 36, 4);

NPG_LAYOUT(npg_event, 80);
NPG_FIELD(npg_event, time, 0, 8);
NPG_FIELD(npg_event, cgroup_id, 8, 8);
NPG_FIELD(npg_event, pid, 16, 4);
NPG_FIELD(npg_event, uid, 20, 4);
NPG_FIELD(npg_event, comm, 24, 16);
NPG_FIELD(npg_event, address, 40, 16);
NPG_FIELD(npg_event, listener_address, 56, 16);
NPG_FIELD(npg_event, port, 72, 2);
NPG_FIELD(npg_event, protocol, 74, 1);
NPG_FIELD(npg_event, observed, 75, 1);
NPG_FIELD(npg_event, reserved, 76, 4);

NPG_LAYOUT(npg_address, 16);
NPG_FIELD(npg_address, address, 0, 16);

NPG_LAYOUT(npg_local_address, 8);
NPG_FIELD(npg_local_address, ifindex, 0, 4);
NPG_FIELD(npg_local_address, reserved, 4, 4);

NPG_LAYOUT(npg_config, 72);
NPG_FIELD(npg_config, abi_version, 0, 4);
NPG_FIELD(npg_config, mode, 4, 4);
NPG_FIELD(npg_config, mark, 8, 4);
NPG_FIELD(npg_config, mark_mask, 12, 4);
NPG_FIELD(npg_config, netns_cookie, 16, 8);
NPG_FIELD(npg_config, started, 24, 8);
NPG_FIELD(npg_config, version, 32, 32);
NPG_FIELD(npg_config, scope, 64, 4);
NPG_FIELD(npg_config, default_verdict, 68, 4);

NPG_LAYOUT(npg_source_key, 4);
NPG_FIELD(npg_source_key, source, 0, 4);

NPG_LAYOUT(npg_source_state, 560);
NPG_FIELD(npg_source_state, connected, 0, 4);
NPG_FIELD(npg_source_state, services, 4, 4);
NPG_FIELD(npg_source_state, ports, 8, 4);
NPG_FIELD(npg_source_state, health_check_ports, 12, 4);
NPG_FIELD(npg_source_state, skipped, 16, 4);
NPG_FIELD(npg_source_state, reserved, 20, 4);
NPG_FIELD(npg_source_state, since, 24, 8);
NPG_FIELD(npg_source_state, last_event, 32, 8);
NPG_FIELD(npg_source_state, last_reading, 40, 8);
NPG_FIELD(npg_source_state, errors, 48, 96);
NPG_FIELD(npg_source_state, resource_version, 144, 32);
NPG_FIELD(npg_source_state, last_error, 176, 256);
NPG_FIELD(npg_source_state, detail, 432, 128);

#undef NPG_FIELD
#undef NPG_LAYOUT

namespace npg::abi {
namespace {

struct Text {
  absl::string_view name;
  absl::string_view meaning;
};

constexpr Text kUnknown = {"unknown", "not known to this build"};

Text Of(npg_counter counter) {
  switch (counter) {
    case NPG_COUNTER_EXEMPTED:
      return {"exempted", "connects given to the host's own listener"};
    case NPG_COUNTER_FOREIGN_NETNS:
      return {"foreign_netns", "connects to a NodePort number in another network namespace"};
    case NPG_COUNTER_NO_LISTENER:
      return {"no_listener", "connects left to the Service: nothing on the host listens"};
    case NPG_COUNTER_IGNORED_OWNER:
      return {"ignored_owner", "connects left to the Service: the listener's owner is ignored"};
    case NPG_COUNTER_OBSERVED:
      return {"observed", "connects that enforce mode would have exempted"};
    case NPG_COUNTER_MARK_FAILED:
      return {"mark_failed", "connects left to the Service: the mark could not be set"};
    case NPG_COUNTER_EVENTS_SUPPRESSED:
      return {"events_suppressed", "events not published: the port was over its rate"};
    case NPG_COUNTER_EVENTS_LOST:
      return {"events_lost", "events not published: the ring buffer was full"};
    case NPG_COUNTER_RULES_RESTORED:
      return {
          "rules_restored",
          "times that a program, a pin or the nft table was put back after somebody else's change"};
    case NPG_COUNTER_PROBED:
      return {"probed", "self-probes of the controller that the programs would have exempted"};
    case NPG_COUNTER_MAX:
      break;
  }
  return kUnknown;
}

Text Of(npg_scope scope) {
  switch (scope) {
    case NPG_SCOPE_LOOPBACK:
      return {"loopback", "connects to loopback addresses"};
    case NPG_SCOPE_LOCAL:
      return {"local", "connects to loopback and to the node's own addresses"};
  }
  return kUnknown;
}

Text Of(npg_source_error error) {
  switch (error) {
    case NPG_SOURCE_ERROR_CONNECT:
      return {"connect", "no connection could be made"};
    case NPG_SOURCE_ERROR_TLS:
      return {"tls", "the TLS handshake or a certificate failed"};
    case NPG_SOURCE_ERROR_UNAUTHORIZED:
      return {"unauthorized", "the credentials were not accepted (401)"};
    case NPG_SOURCE_ERROR_FORBIDDEN:
      return {"forbidden", "the credentials do not allow it (403)"};
    case NPG_SOURCE_ERROR_THROTTLED:
      return {"throttled", "asked to come back later (429)"};
    case NPG_SOURCE_ERROR_EXPIRED:
      return {"expired", "the resourceVersion was too old (410): listed again"};
    case NPG_SOURCE_ERROR_SERVER:
      return {"server", "the server failed (5xx)"};
    case NPG_SOURCE_ERROR_HTTP:
      return {"http", "an unexpected status, or no HTTP"};
    case NPG_SOURCE_ERROR_DECODE:
      return {"decode", "what was read could not be understood"};
    case NPG_SOURCE_ERROR_STALLED:
      return {"stalled", "silent for longer than it may be"};
    case NPG_SOURCE_ERROR_CUT:
      return {"cut", "the answer ended before it was complete"};
    case NPG_SOURCE_ERROR_READ:
      return {"read", "a file or a table of this node could not be read"};
    case NPG_SOURCE_ERROR_MAX:
      break;
  }
  return kUnknown;
}

// The next ones come out of maps as plain numbers: a value that another build
// wrote may be outside the enumeration.

Text OfSource(uint32_t source) {
  switch (source) {
    case NPG_SOURCE_KUBERNETES:
      return {"kubernetes", "a Service of the API server"};
    case NPG_SOURCE_NETFILTER:
      return {"netfilter", "a rule in this node's packet filter"};
    case NPG_SOURCE_FILE:
      return {"file", "a file on this node"};
    case NPG_SOURCE_PROBE:
      return {"probe", "the controller's canary, for the moment of a self-probe"};
    default:
      return kUnknown;
  }
}

Text OfOwnerVerdict(uint32_t verdict) {
  switch (verdict) {
    case NPG_OWNER_GUARDED:
      return {"guarded", "counts as a listener"};
    case NPG_OWNER_IGNORED:
      return {"ignored", "only holds the port, counts as no listener"};
    default:
      return kUnknown;
  }
}

Text OfMode(uint32_t mode) {
  switch (mode) {
    case NPG_MODE_ENFORCE:
      return {"enforce", "connects to live listeners are exempted"};
    case NPG_MODE_OBSERVE:
      return {"observe", "what would be exempted is counted, nothing is done"};
    default:
      return kUnknown;
  }
}

}  // namespace

absl::string_view CounterName(npg_counter counter) { return Of(counter).name; }
absl::string_view CounterMeaning(npg_counter counter) { return Of(counter).meaning; }

absl::string_view SourceName(uint32_t source) { return OfSource(source).name; }
absl::string_view SourceMeaning(uint32_t source) { return OfSource(source).meaning; }

absl::string_view SourceErrorName(npg_source_error error) { return Of(error).name; }
absl::string_view SourceErrorMeaning(npg_source_error error) { return Of(error).meaning; }

std::string SourcesText(uint32_t sources) {
  std::string text;
  for (uint32_t rest = sources; rest != 0; rest &= rest - 1) {
    const uint32_t lowest = rest & (~rest + 1);
    absl::StrAppend(&text, text.empty() ? "" : ",", SourceName(lowest));
  }
  return text;
}

absl::string_view OwnerVerdictName(uint32_t verdict) { return OfOwnerVerdict(verdict).name; }
absl::string_view OwnerVerdictMeaning(uint32_t verdict) { return OfOwnerVerdict(verdict).meaning; }

absl::string_view ModeName(uint32_t mode) { return OfMode(mode).name; }
absl::string_view ModeMeaning(uint32_t mode) { return OfMode(mode).meaning; }

absl::string_view ScopeName(uint32_t scope) { return Of(static_cast<npg_scope>(scope)).name; }
absl::string_view ScopeMeaning(uint32_t scope) { return Of(static_cast<npg_scope>(scope)).meaning; }

}  // namespace npg::abi
