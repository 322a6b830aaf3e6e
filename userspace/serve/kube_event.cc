// SPDX-License-Identifier: Apache-2.0
#include "serve/kube_event.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "core/conflicts.h"
#include "core/dns_name.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/service_name.h"
#include "core/workload.h"
#include "inspect/protection.h"
#include "inspect/text.h"
#include "serve/kube_event_json.h"

namespace npg::serve {
namespace {

using Json = nlohmann::ordered_json;

// The annotation that tells conflicts and nodes apart.
constexpr absl::string_view kConflictAnnotation = "nodeport-guard.io/conflict";

// FNV-1a: unlike absl::Hash, it is equal on every machine and in every build.
uint64_t Fingerprint(absl::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

uint64_t ConflictNumber(const KubeEventSubject& subject, absl::string_view node) {
  return Fingerprint(absl::StrCat(node, "\n", subject.Identity()));
}

std::string ConflictText(const KubeEventSubject& subject, absl::string_view node) {
  return absl::StrFormat("%016x", ConflictNumber(subject, node));
}

// The workload of the owner, without parts that change when it is restarted: a container
// then gets a new id.
std::string LastingWorkload(const core::Workload& workload) {
  return workload.pod_uid.empty() ? workload.unit : absl::StrCat("pod ", workload.pod_uid);
}

std::string OwnerText(const KubeEventSubject& subject) {
  if (subject.owner.no_process) return "the kernel";
  if (subject.owner.pid == 0) return absl::StrCat("a process of uid ", subject.uid);
  const std::string workload = core::ToString(subject.owner.workload);
  return absl::StrCat(base::Printable(subject.owner.comm), " (pid ", subject.owner.pid,
                      subject.trusted ? "" : absl::StrCat(", uid ", subject.uid),
                      workload.empty() ? "" : ", ", base::Printable(workload), ")");
}

std::string ConflictNote(const KubeEventSubject& subject, const KubeEventReporter& reporter) {
  std::string outcome = "nodeport-guard lets the node's own connects reach that process.";
  if (!subject.recorded) {
    outcome =
        "The node's own connects go to the Service: nodeport-guard has no record of who bound this "
        "socket.";
  } else if (!subject.trusted) {
    outcome = absl::StrCat(
        "The node's own connects go to the Service: nodeport-guard does not guard listeners of "
        "uid ",
        subject.uid, " (--guard-uid +", subject.uid, " would).");
  } else if (!reporter.enforcing) {
    outcome =
        "nodeport-guard only observes: the node's own connects to that process go to the Service.";
  } else if (subject.unguarded) {
    outcome =
        "nodeport-guard does not exempt the node's own connects to that process at present, so "
        "they go to the Service.";
  }
  return absl::StrCat(OwnerText(subject), " listens on ", subject.listener, " port ",
                      core::ToString(subject.key), ", which is a NodePort of this Service. ",
                      outcome);
}

std::string BindNote(const KubeEventSubject& subject) {
  if (subject.kind == KubeEventKind::kBindRefused) {
    return absl::StrCat("nodeport-guard did not let ", OwnerText(subject), " bind port ",
                        core::ToString(subject.key),
                        ", which is a NodePort of this Service (--bind-protection deny). Another "
                        "port ends this; --bind-allow-uid ",
                        subject.uid, " would let that user bind NodePorts.");
  }
  return absl::StrCat(OwnerText(subject), " bound port ", core::ToString(subject.key),
                      ", which is a NodePort of this Service. nodeport-guard only reports it "
                      "(--bind-protection warn); deny would refuse it. Give the process another "
                      "port.");
}

std::string Note(const KubeEventSubject& subject, const KubeEventReporter& reporter,
                 uint64_t earlier) {
  return absl::StrCat("Node ", reporter.node, ": ",
                      subject.kind == KubeEventKind::kConflict ? ConflictNote(subject, reporter)
                                                               : BindNote(subject),
                      earlier > 0 ? absl::StrCat(" This is Event ", earlier + 1, " of it.") : "");
}

absl::string_view ReasonOf(KubeEventKind kind) {
  switch (kind) {
    case KubeEventKind::kBindRefused:
      return "NodePortBindRefused";
    case KubeEventKind::kBindReported:
      return "NodePortBindReported";
    case KubeEventKind::kConflict:
      break;
  }
  return "NodePortConflict";
}

absl::string_view ActionOf(const KubeEventSubject& subject, const KubeEventReporter& reporter) {
  if (subject.kind == KubeEventKind::kBindRefused) return "RefuseBind";
  if (subject.kind == KubeEventKind::kBindReported) return "ReportBind";
  if (!subject.trusted) return "LeaveLocalConnects";
  if (!reporter.enforcing) return "ObserveLocalConnects";
  return subject.unguarded ? "LeaveLocalConnects" : "ExemptLocalConnects";
}

}  // namespace

std::optional<ServiceName> ParseServiceName(absl::string_view text) {
  const std::optional<core::ServiceNameParts> parts = core::SplitServiceName(text);
  if (!parts || !core::IsDnsLabel(parts->ns) || !core::IsDnsLabel(parts->name)) {
    return std::nullopt;
  }
  return ServiceName{std::string(parts->ns), std::string(parts->name)};
}

std::string KubeEventSubject::Identity() const {
  std::string who = absl::StrCat("uid ", uid);
  if (kind != KubeEventKind::kConflict) {
    absl::StrAppend(&who, ", ", ReasonOf(kind));
  } else if (!trusted) {
    absl::StrAppend(&who, ", not trusted");
  } else if (owner.pid != 0) {
    who = absl::StrCat(owner.comm, "\n", LastingWorkload(owner.workload));
  }
  return absl::StrCat(service.ns, "/", service.name, "\n", core::ToString(key), "\n", who);
}

std::optional<KubeEventSubject> SubjectOf(const core::Conflict& conflict) {
  const bool trusted = conflict.owner_verdict == core::OwnerVerdict::kGuarded;
  if (!trusted && conflict.owner_verdict != core::OwnerVerdict::kUntrusted) return std::nullopt;
  std::optional<ServiceName> service = ParseServiceName(conflict.service);
  if (!service) return std::nullopt;
  const core::Listener& listener = conflict.listener;
  return KubeEventSubject{KubeEventKind::kConflict,
                          *std::move(service),
                          conflict.key,
                          listener.owner,
                          core::AddressText(listener.address),
                          listener.binder ? listener.binder->uid : listener.uid,
                          trusted,
                          trusted || inspect::HasRecord(listener)};
}

std::optional<KubeEventSubject> SubjectOf(const inspect::BoundPort& bound, KubeEventKind kind) {
  const uint64_t count =
      kind == KubeEventKind::kBindRefused ? bound.stats.refused : bound.stats.warned;
  std::optional<ServiceName> service = ParseServiceName(bound.service);
  if (kind == KubeEventKind::kConflict || count == 0 || !service) return std::nullopt;
  KubeEventSubject subject;
  subject.kind = kind;
  subject.service = *std::move(service);
  subject.key = bound.key;
  subject.owner.pid = bound.stats.binder.pid;
  subject.owner.comm = bound.stats.binder.comm;
  subject.uid = bound.stats.binder.uid;
  subject.trusted = false;
  return subject;
}

std::string KubeEventName(const KubeEventSubject& subject, absl::string_view node, int attempt) {
  // Both are powers of two, so that an odd step leads to a different name each time.
  static_assert((kKubeEventNames & (kKubeEventNames - 1)) == 0);
  static_assert((kUntrustedKubeEventNames & (kUntrustedKubeEventNames - 1)) == 0);
  const uint64_t names = subject.trusted ? kKubeEventNames : kUntrustedKubeEventNames;
  const uint64_t conflict = ConflictNumber(subject, node);
  const uint64_t first = conflict >> 32;
  const uint64_t step = (conflict >> 48) | 1;
  const uint64_t place = (first + static_cast<uint64_t>(attempt) * step) % names;
  return absl::StrFormat(
      "%s.%016x", subject.service.name,
      Fingerprint(absl::StrCat(subject.service.ns, "/", subject.service.name, "\n", place)));
}

std::string KubeEventJson(const KubeEventSubject& subject, const KubeEventReporter& reporter,
                          absl::string_view service_uid, absl::Time now, uint64_t earlier,
                          int attempt) {
  Json json = KubeEventOf(reporter.node, now, Note(subject, reporter, earlier));
  json["metadata"] = {{"name", KubeEventName(subject, reporter.node, attempt)},
                      {"namespace", subject.service.ns}};
  json["metadata"]["annotations"][std::string(kConflictAnnotation)] =
      ConflictText(subject, reporter.node);
  json["action"] = std::string(ActionOf(subject, reporter));
  json["reason"] = std::string(ReasonOf(subject.kind));
  json["regarding"] = {{"apiVersion", "v1"},
                       {"kind", "Service"},
                       {"namespace", subject.service.ns},
                       {"name", subject.service.name}};
  if (!service_uid.empty()) json["regarding"]["uid"] = std::string(service_uid);
  json["related"] = {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", reporter.node}};
  return DumpKubeEvent(json);
}

std::string KubeEventSeriesJson(const KubeEventReporter& reporter, uint64_t count,
                                absl::Time last_observed) {
  Json json;
  json["reportingInstance"] = ReportingInstance(reporter.node);
  json["series"] = {{"count", count}, {"lastObservedTime", MicroTime(last_observed)}};
  return DumpKubeEvent(json);
}

bool IsOtherKubeEvent(const std::string& json, const KubeEventSubject& subject,
                      absl::string_view node) {
  const Json event = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  const auto pointer = Json::json_pointer("/metadata/annotations");
  if (!event.is_object() || !event.contains(pointer)) return false;
  const Json& annotations = event[pointer];
  const std::string key(kConflictAnnotation);
  if (!annotations.is_object() || !annotations.contains(key)) return false;
  const Json& conflict = annotations[key];
  return conflict.is_string() && conflict.get<std::string>() != ConflictText(subject, node);
}

uint64_t KubeEventCountIn(const std::string& json) {
  const Json event = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  const auto pointer = Json::json_pointer("/series/count");
  if (!event.is_object() || !event.contains(pointer)) return 1;
  const Json& count = event[pointer];
  return count.is_number_unsigned() ? std::max<uint64_t>(1, count.get<uint64_t>()) : 1;
}

}  // namespace npg::serve
