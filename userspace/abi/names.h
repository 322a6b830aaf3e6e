// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_ABI_NAMES_H_
#define NODEPORT_GUARD_ABI_NAMES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "guard_abi.h"

// The enumerations of bpf/guard_abi.h: their values are the C enumerators, and each has
// a table with one row for each value. Flags, JSON, metrics and texts iterate over the
// tables. Names are stable (metrics, JSON, scripts use them); a meaning is a clause
// without a full stop.
//
// A value that comes from a map may be none of the enumerators, because another build
// wrote it: its name is "unknown".

namespace npg::abi {

template <typename Enum>
struct Row {
  Enum value;
  absl::string_view name;
  absl::string_view meaning;
};

// Who reports that ports are allocated.
enum class Source : uint32_t {
  kKubernetes = NPG_SOURCE_KUBERNETES,
  kNetfilter = NPG_SOURCE_NETFILTER,
  kFile = NPG_SOURCE_FILE,
  kProbe = NPG_SOURCE_PROBE,
};

// Several sources: the bits of Bit().
using SourceBits = uint32_t;
constexpr SourceBits Bit(Source source) { return static_cast<SourceBits>(source); }

struct SourceRow {
  Source value;
  absl::string_view name;
  absl::string_view meaning;
  absl::string_view reads;  // a predicate for --help: "reads the rules of this node"
};

// Those that a user can choose, in the order of their bits.
inline constexpr auto kSources = std::to_array<SourceRow>({
    {Source::kKubernetes, "kubernetes", "a Service of the API server",
     "watches the Services of the API server"},
    {Source::kNetfilter, "netfilter", "a rule in this node's packet filter",
     "reads the rules of this node (kube-proxy, portmap)"},
    {Source::kFile, "file", "a file on this node", "reads --nodeports-file"},
});

// Used by the controller itself: not a value of --source, not shown by `status`.
inline constexpr Row<Source> kProbeSource = {
    Source::kProbe, "probe", "the controller's canary, present during a self-probe"};

enum class Counter : uint32_t {
  kExempted = NPG_COUNTER_EXEMPTED,
  kForeignNetns = NPG_COUNTER_FOREIGN_NETNS,
  kNoListener = NPG_COUNTER_NO_LISTENER,
  kIgnoredOwner = NPG_COUNTER_IGNORED_OWNER,
  kObserved = NPG_COUNTER_OBSERVED,
  kMarkFailed = NPG_COUNTER_MARK_FAILED,
  kEventsSuppressed = NPG_COUNTER_EVENTS_SUPPRESSED,
  kEventsLost = NPG_COUNTER_EVENTS_LOST,
  kRulesRestored = NPG_COUNTER_RULES_RESTORED,
  kProbed = NPG_COUNTER_PROBED,
  kUntrustedOwner = NPG_COUNTER_UNTRUSTED_OWNER,
  kStandingAside = NPG_COUNTER_STANDING_ASIDE,
  kBindSpared = NPG_COUNTER_BIND_SPARED,
  kBindWarned = NPG_COUNTER_BIND_WARNED,
  kBindRefused = NPG_COUNTER_BIND_REFUSED,
};

// What a counter counts, which determines the name of its metric.
enum class Counted {
  kConnects,        // NAME_connects_total
  kPassedConnects,  // passed_connects_total{reason="NAME"}
  kOther,           // NAME_total
};

struct CounterRow {
  Counter value;
  absl::string_view name;
  absl::string_view meaning;
  Counted counted;
  absl::string_view help;  // of the metric, a sentence; empty for kPassedConnects
};

// By their index in the map.
inline constexpr auto kCounters = std::to_array<CounterRow>({
    {Counter::kExempted, "exempted", "connects given to the host's own listener",
     Counted::kConnects, "Connects to a NodePort that were given to the host's own listener."},
    {Counter::kForeignNetns, "foreign_netns",
     "connects to a NodePort number in another network namespace", Counted::kPassedConnects, ""},
    {Counter::kNoListener, "no_listener",
     "connects left to the Service: no process of the host listens", Counted::kPassedConnects, ""},
    {Counter::kIgnoredOwner, "ignored_owner",
     "connects left to the Service: the listener's owner is ignored", Counted::kPassedConnects, ""},
    {Counter::kObserved, "observed", "connects that enforce mode would have exempted",
     Counted::kPassedConnects, ""},
    {Counter::kMarkFailed, "mark_failed", "connects left to the Service: the mark could not be set",
     Counted::kPassedConnects, ""},
    {Counter::kEventsSuppressed, "events_suppressed",
     "events not published: the port was over its rate limit", Counted::kOther,
     "Exemptions without a published event: the port was over its rate limit."},
    {Counter::kEventsLost, "events_lost", "events not published: the ring buffer was full",
     Counted::kOther, "Exemptions without a published event: the ring buffer was full."},
    {Counter::kRulesRestored, "rules_restored",
     "times that a program, a pin or the nft table was restored after another process's change",
     Counted::kOther,
     "Times that the controller restored what another process had changed or removed."},
    {Counter::kProbed, "probed",
     "self-probes of the controller that the programs would have exempted", Counted::kConnects,
     "Connects of the controller's self-probes that the programs counted."},
    {Counter::kUntrustedOwner, "untrusted_owner",
     "connects left to the Service: --guard-uid and --guard-cgroup do not name the listener's "
     "owner",
     Counted::kPassedConnects, ""},
    {Counter::kStandingAside, "standing_aside",
     "connects left to the Service: the guard stands aside, because rules of this node would break "
     "an exempt connection",
     Counted::kPassedConnects, ""},
    {Counter::kBindSpared, "bind_spared",
     "binds of a NodePort that an exception of bind protection let pass", Counted::kOther,
     "Binds of an allocated NodePort that an exception of bind protection let pass."},
    {Counter::kBindWarned, "bind_warned",
     "binds of a NodePort that bind protection reported and let pass", Counted::kOther,
     "Binds of an allocated NodePort that bind protection reported and let pass."},
    {Counter::kBindRefused, "bind_refused", "binds of a NodePort that bind protection refused",
     Counted::kOther, "Binds of an allocated NodePort that bind protection refused."},
});

// The verdict on the owner of a listener.
enum class OwnerVerdict : uint32_t {
  kGuarded = NPG_OWNER_GUARDED,
  kIgnored = NPG_OWNER_IGNORED,
  kHolder = NPG_OWNER_HOLDER,
};

inline constexpr auto kOwnerVerdicts = std::to_array<Row<OwnerVerdict>>({
    {OwnerVerdict::kGuarded, "guarded", "counts as a listener"},
    {OwnerVerdict::kIgnored, "ignored", "connects are left to the Service"},
    {OwnerVerdict::kHolder, "holder",
     "ignored on the number that a socket asked for, a listener elsewhere"},
});

enum class Mode : uint32_t {
  kEnforce = NPG_MODE_ENFORCE,
  kObserve = NPG_MODE_OBSERVE,
};

inline constexpr auto kModes = std::to_array<Row<Mode>>({
    {Mode::kEnforce, "enforce", "connects to live listeners are exempted"},
    {Mode::kObserve, "observe", "what would be exempted is only counted"},
});

// Which destinations are guarded.
enum class Scope : uint32_t {
  kLoopback = NPG_SCOPE_LOOPBACK,
  kLocal = NPG_SCOPE_LOCAL,
};

inline constexpr auto kScopes = std::to_array<Row<Scope>>({
    {Scope::kLoopback, "loopback", "connects to loopback addresses"},
    {Scope::kLocal, "local", "connects to loopback and to the node's own addresses"},
});

// The traffic for which the guard can stand aside, by the family of the packets.
enum class Traffic : uint32_t {
  kTcp4 = NPG_TRAFFIC_TCP4,
  kUdp4 = NPG_TRAFFIC_UDP4,
  kTcp6 = NPG_TRAFFIC_TCP6,
  kUdp6 = NPG_TRAFFIC_UDP6,
};

// The bits of several.
using TrafficBits = uint32_t;
constexpr TrafficBits Bit(Traffic traffic) { return static_cast<TrafficBits>(traffic); }
// Besides them, in Config::standing_aside: no self-probe has ended yet.
inline constexpr TrafficBits kUnproven = NPG_TRAFFIC_UNPROVEN;

inline constexpr auto kTraffic = std::to_array<Row<Traffic>>({
    {Traffic::kTcp4, "tcp4", "TCP over IPv4"},
    {Traffic::kUdp4, "udp4", "UDP over IPv4"},
    {Traffic::kTcp6, "tcp6", "TCP over IPv6"},
    {Traffic::kUdp6, "udp6", "UDP over IPv6"},
});

constexpr TrafficBits AllTraffic() {
  TrafficBits bits = 0;
  for (const auto& row : kTraffic) bits |= Bit(row.value);
  return bits;
}

constexpr Traffic TrafficOf(bool tcp, bool v4) {
  if (v4) return tcp ? Traffic::kTcp4 : Traffic::kUdp4;
  return tcp ? Traffic::kTcp6 : Traffic::kUdp6;
}

// Whether there is traffic of IPv4 (`v4`) or IPv6 among `bits`.
constexpr bool HasFamily(TrafficBits bits, bool v4) {
  return (bits & (Bit(TrafficOf(true, v4)) | Bit(TrafficOf(false, v4)))) != 0;
}

// What happens when a process binds an allocated NodePort where both collide.
enum class BindProtection : uint32_t {
  kOff = NPG_BIND_OFF,
  kWarn = NPG_BIND_WARN,
  kDeny = NPG_BIND_DENY,
};

inline constexpr auto kBindProtections = std::to_array<Row<BindProtection>>({
    {BindProtection::kOff, "off", "binds are left alone"},
    {BindProtection::kWarn, "warn", "a bind of an allocated NodePort is reported"},
    {BindProtection::kDeny, "deny", "a bind of an allocated NodePort fails"},
});

// Which ports the controller adds to net.ipv4.ip_local_reserved_ports.
enum class ReservePorts : uint32_t {
  kOff = NPG_RESERVE_OFF,
  kAllocated = NPG_RESERVE_ALLOCATED,
};

inline constexpr auto kReservePorts = std::to_array<Row<ReservePorts>>({
    {ReservePorts::kOff, "off", "no port is reserved"},
    {ReservePorts::kAllocated, "allocated",
     "allocated NodePorts and healthCheckNodePorts are reserved"},
});

enum class ReserveState : uint32_t {
  kOff = NPG_RESERVED_OFF,
  kOk = NPG_RESERVED_OK,
  kFailed = NPG_RESERVED_FAILED,
  kTooFew = NPG_RESERVED_TOO_FEW,
};

inline constexpr auto kReserveStates = std::to_array<Row<ReserveState>>({
    {ReserveState::kOff, "off", "no port is reserved"},
    {ReserveState::kOk, "ok", "the kernel assigns no allocated NodePort"},
    {ReserveState::kFailed, "failed", "net.ipv4.ip_local_reserved_ports cannot be changed"},
    {ReserveState::kTooFew, "too_few",
     "none is reserved, because too few ports would be left for the kernel to assign"},
});

// What bind protection did with a bind of an allocated NodePort.
enum class BindOutcome : uint32_t {
  kPassed = NPG_BIND_PASSED,
  kSpared = NPG_BIND_SPARED,
  kWarned = NPG_BIND_WARNED,
  kRefused = NPG_BIND_REFUSED,
};

inline constexpr auto kBindOutcomes = std::to_array<Row<BindOutcome>>({
    {BindOutcome::kPassed, "passed", "bind protection does not concern it"},
    {BindOutcome::kSpared, "spared", "an exception applies"},
    {BindOutcome::kWarned, "warned", "reported, and let pass"},
    {BindOutcome::kRefused, "refused", "bind() failed"},
});

// Why a source could not be read or followed.
enum class SourceError : uint32_t {
  kConnect = NPG_SOURCE_ERROR_CONNECT,
  kTls = NPG_SOURCE_ERROR_TLS,
  kUnauthorized = NPG_SOURCE_ERROR_UNAUTHORIZED,
  kForbidden = NPG_SOURCE_ERROR_FORBIDDEN,
  kThrottled = NPG_SOURCE_ERROR_THROTTLED,
  kExpired = NPG_SOURCE_ERROR_EXPIRED,
  kServer = NPG_SOURCE_ERROR_SERVER,
  kHttp = NPG_SOURCE_ERROR_HTTP,
  kDecode = NPG_SOURCE_ERROR_DECODE,
  kStalled = NPG_SOURCE_ERROR_STALLED,
  kCut = NPG_SOURCE_ERROR_CUT,
  kRead = NPG_SOURCE_ERROR_READ,
};

// By their index in npg_source_state.errors.
inline constexpr auto kSourceErrors = std::to_array<Row<SourceError>>({
    {SourceError::kConnect, "connect", "no connection could be made"},
    {SourceError::kTls, "tls", "the TLS handshake or a certificate failed"},
    {SourceError::kUnauthorized, "unauthorized", "the credentials were not accepted (401)"},
    {SourceError::kForbidden, "forbidden", "the credentials do not allow it (403)"},
    {SourceError::kThrottled, "throttled", "the server limits the rate of requests (429)"},
    {SourceError::kExpired, "expired", "the resourceVersion was too old (410): listed again"},
    {SourceError::kServer, "server", "the server failed (5xx)"},
    {SourceError::kHttp, "http", "an unexpected status, or no HTTP"},
    {SourceError::kDecode, "decode", "the input could not be decoded"},
    {SourceError::kStalled, "stalled", "no data arrived within the time limit"},
    {SourceError::kCut, "cut", "the response ended before it was complete"},
    {SourceError::kRead, "read", "a file or a table of this node could not be read"},
});

absl::string_view Name(Source source);
absl::string_view Name(Counter counter);
absl::string_view Name(OwnerVerdict verdict);
absl::string_view Name(Mode mode);
absl::string_view Name(Scope scope);
absl::string_view Name(Traffic traffic);
absl::string_view Name(SourceError error);
absl::string_view Name(BindProtection protection);
absl::string_view Name(ReservePorts reserve);
absl::string_view Name(ReserveState state);
absl::string_view Name(BindOutcome outcome);

absl::string_view Meaning(Source source);
absl::string_view Meaning(Counter counter);
absl::string_view Meaning(OwnerVerdict verdict);
absl::string_view Meaning(Mode mode);
absl::string_view Meaning(Scope scope);
absl::string_view Meaning(Traffic traffic);
absl::string_view Meaning(SourceError error);
absl::string_view Meaning(BindProtection protection);
absl::string_view Meaning(ReservePorts reserve);
absl::string_view Meaning(ReserveState state);
absl::string_view Meaning(BindOutcome outcome);

// The names of several sources, lowest bit first.
std::vector<absl::string_view> SourceNames(SourceBits sources);
// The same as "kubernetes,file"; "" for none.
std::string SourcesText(SourceBits sources);

// "TCP over IPv4 and UDP over IPv4"; "all connects", and "" for none.
std::string TrafficText(TrafficBits traffic);

// The row of a table with this name; null if there is none.
template <typename R, size_t N>
constexpr const R* FindByName(const std::array<R, N>& rows, absl::string_view name) {
  for (const R& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

// The names in a table, in its order.
template <typename R, size_t N>
constexpr std::array<absl::string_view, N> NamesIn(const std::array<R, N>& rows) {
  std::array<absl::string_view, N> names;
  for (size_t i = 0; i < N; ++i) names[i] = rows[i].name;
  return names;
}

}  // namespace npg::abi

#endif  // NODEPORT_GUARD_ABI_NAMES_H_
