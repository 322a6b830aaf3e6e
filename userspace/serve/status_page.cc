// SPDX-License-Identifier: Apache-2.0
#include "serve/status_page.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/text.h"
#include "core/accept_queue.h"
#include "core/conflicts.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/workload.h"
#include "inspect/coverage.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/protection.h"
#include "inspect/status.h"
#include "inspect/text.h"
#include "log/health.h"
#include "serve/html.h"
#include "serve/page_files.h"

namespace npg::serve {
namespace {

// A longer page would be unusable.
constexpr size_t kMaxConflicts = 500;

std::string Code(absl::string_view text) {
  return text.empty() ? "" : absl::StrCat("<code>", EscapeHtml(text), "</code>");
}

std::string List(const std::vector<std::string>& items) {
  return EscapeHtml(absl::StrJoin(items, ", "));
}

std::string When(const std::optional<absl::Time>& time, absl::Time now, absl::string_view never) {
  if (time) return TimeAgo(*time, now);
  return absl::StrCat("<span class=\"nowrap\">", EscapeHtml(never), "</span>");
}

// "never" of a map's entry.
std::optional<absl::Time> Known(absl::Time time) {
  return abi::IsNever(time) ? std::nullopt : std::make_optional(time);
}

std::string Bullets(const std::vector<std::string>& list) {
  std::string html = "<ul>\n";
  for (const std::string& item : list) absl::StrAppend(&html, "<li>", EscapeHtml(item), "</li>\n");
  return html + "</ul>\n";
}

struct Verdict {
  absl::string_view tone;
  std::string text;
};

// The summary of the page in one line.
bool SeesAll(const inspect::GuardFacts& facts) {
  return inspect::JudgeCoverage(facts).coverage == core::Coverage::kAll;
}

Verdict Judge(const PageInput& input) {
  if (input.status == nullptr) return {"bad", "The state of this node is not known"};
  if (!input.status->healthy()) return {"bad", "The guard is broken"};
  if (!input.live.ok) return {"bad", "The guard is not healthy"};
  if (!input.ready.ok) return {"warn", "The guard is not ready yet"};
  const inspect::GuardFacts& facts = input.status->facts;
  const std::string known = base::Count(input.status->nodeports.total, "NodePort");
  if (facts.config.mode == abi::Mode::kObserve) {
    return {"warn", absl::StrCat("Only observing ", known, ": nothing is exempted")};
  }
  if (facts.cilium_socket_lb) {
    return {"warn", "Not guarding: Cilium's socket load balancer takes the connects to NodePorts"};
  }
  if (!SeesAll(facts)) return {"warn", absl::StrCat("Guarding ", known, ", and there can be more")};
  return {"good", absl::StrCat("Guarding ", known)};
}

std::string RenderVerdict(const PageInput& input) {
  const Verdict verdict = Judge(input);
  const absl::string_view state = verdict.tone == "good"  ? "Good"
                                  : verdict.tone == "bad" ? "Problem"
                                                          : "Attention";
  std::string html = absl::StrCat("<section class=\"card ", verdict.tone,
                                  "\" id=\"verdict\" aria-label=\"Verdict\">\n",
                                  "<div class=\"verdict\">", Badge(verdict.tone, state), "<span>",
                                  EscapeHtml(verdict.text), "</span></div>\n");
  if (input.status == nullptr) {
    html += Bullets({input.error});
  } else if (!input.status->problems.empty()) {
    html += Bullets(input.status->problems);
  }
  return html + "</section>\n";
}

// An IPv4 address is short enough for a line of its own.
std::string AddressCell(const std::string& address) {
  return absl::StrCat("<span", address.find(':') == std::string::npos ? " class=\"nowrap\"" : "",
                      ">", Code(address), "</span>");
}

std::string SocketsText(size_t listeners) {
  if (listeners == 1) return "";
  return absl::StrCat("<br><span class=\"soft\">", listeners, " sockets</span>");
}

std::string OwnerHeading(const inspect::Conflict& conflict) {
  if (conflict.owner.kernel) return "<strong>the kernel</strong>";
  if (conflict.owner.comm.empty()) return absl::StrCat("uid ", conflict.listener.uid);
  return absl::StrCat("<strong>", EscapeHtml(conflict.owner.comm), "</strong> pid&nbsp;",
                      conflict.owner.pid);
}

std::string OwnerCell(const inspect::Conflict& conflict) {
  const core::Owner& owner = conflict.listener.owner;
  const core::Workload& workload = owner.workload;
  std::vector<std::string> details;
  if (!conflict.owner.comm.empty()) {
    details.push_back(absl::StrCat("uid ", conflict.listener.uid));
  }
  if (!owner.executable.empty()) details.push_back(Code(owner.executable));
  if (!workload.pod_uid.empty()) {
    details.push_back(absl::StrCat("pod ", EscapeHtml(workload.pod_uid)));
  }
  if (!workload.container_id.empty()) {
    constexpr size_t kShortId = 12;
    details.push_back(
        absl::StrCat(EscapeHtml(workload.runtime), " container ",
                     EscapeHtml(absl::string_view(workload.container_id).substr(0, kShortId))));
  }
  if (!workload.unit.empty()) details.push_back(EscapeHtml(workload.unit));
  if (details.size() < 3 && !owner.cgroup.empty()) {
    details.push_back(absl::StrCat("cgroup ", Code(owner.cgroup)));
  }
  if (owner.holders.size() > 1) {
    details.push_back(absl::StrCat("shared by ", owner.holders.size(), " processes"));
  }
  if (conflict.listener.accept_queue > 0) {
    details.push_back(core::AcceptQueueText(conflict.listener));
  }
  return absl::StrCat(OwnerHeading(conflict), details.empty() ? "" : "<br><span class=\"soft\">",
                      absl::StrJoin(details, ", "), details.empty() ? "" : "</span>");
}

std::string StateBadge(const inspect::GuardFacts& facts, inspect::ConflictState state) {
  switch (state) {
    case inspect::ConflictState::kIgnored:
      return Badge("warn", "ignored");
    case inspect::ConflictState::kUntrusted:
      return Badge("warn", "untrusted");
    case inspect::ConflictState::kObserved:
      return Badge("warn", "observed");
    case inspect::ConflictState::kUnguarded:
      if (!inspect::VisibleTable(facts)) return Badge("warn", "not known");
      return Badge("bad", "unguarded");
    case inspect::ConflictState::kExempted:
      break;
  }
  return Badge("good", "guarded");
}

std::string RenderConflicts(const PageInput& input) {
  constexpr absl::string_view kId = "conflicts";
  const inspect::Status& status = *input.status;
  const size_t count = status.conflicts.size();
  if (status.facts.same_netns == false) {
    return Section(kId, "Conflicts", "<p>Not visible from here.</p>\n");
  }
  if (count == 0) {
    if (!SeesAll(status.facts)) {
      return Section(kId, "Conflicts",
                     "<p>Cannot tell: there can be NodePorts that no source has reported (see the "
                     "notes).</p>\n");
    }
    return Section(kId, "No conflicts",
                   "<p>No process of this node listens on a guarded NodePort.</p>\n");
  }
  const bool observe = status.facts.config.mode == abi::Mode::kObserve;
  HtmlTable table("Listeners on NodePorts", {{"Port"},
                                             {"Service"},
                                             {"Listener"},
                                             {"Owner"},
                                             {"State"},
                                             {observe ? "Observed" : "Exempted", true},
                                             {"Last"},
                                             {"Since"}});
  const auto groups = inspect::GroupConflicts(status.conflicts);
  for (size_t i = 0; i < std::min(groups.size(), kMaxConflicts); ++i) {
    const inspect::GuardedConflict& conflict = *groups[i].conflict;
    const core::PortHistory& history = conflict.history;
    table.AddRow({absl::StrCat("<span class=\"nowrap\">", core::ToString(conflict.key), "</span>"),
                  conflict.service.empty() ? "<span class=\"soft\">name not known</span>"
                                           : EscapeHtml(conflict.service),
                  absl::StrCat(AddressCell(inspect::AddressValue(conflict.listener.address)),
                               SocketsText(groups[i].listeners)),
                  OwnerCell(conflict), StateBadge(status.facts, conflict.state),
                  absl::StrCat(observe ? history.observed : history.exempted),
                  When(history.last, input.now, "never"), When(history.since, input.now, "")});
  }
  std::string html = table.Html();
  if (groups.size() > kMaxConflicts) {
    absl::StrAppend(&html, "<p>", groups.size() - kMaxConflicts,
                    " more are in <a href=\"/api/v1/status\">/api/v1/status</a>.</p>\n");
  }
  return Section(
      kId,
      absl::StrCat("Conflicts: ", base::Count(count, "listener"), " on the port of a NodePort"),
      html);
}

std::string Checks(const log::HealthAnswer& answer) {
  std::string html = "<ul class=\"checks\">\n";
  for (const std::string& line : answer.lines) {
    absl::string_view text = line;
    const bool ok = !absl::ConsumePrefix(&text, "FAIL ");
    absl::ConsumePrefix(&text, "ok   ");
    absl::StrAppend(&html, "<li>", ok ? Badge("good", "ok") : Badge("bad", "fail"), "<span>",
                    EscapeHtml(text), "</span></li>\n");
  }
  return html + "</ul>\n";
}

std::string RenderHealth(const PageInput& input) {
  return Section(
      "health", "Health",
      absl::StrCat("<div class=\"pair\">\n<div>\n<h3>Alive</h3>\n", Checks(input.live),
                   "</div>\n<div>\n<h3>Ready</h3>\n", Checks(input.ready), "</div>\n</div>\n"));
}

std::string RenderSources(const PageInput& input) {
  const inspect::GuardFacts& facts = input.status->facts;
  if (facts.sources.empty()) return "";
  HtmlTable table("Sources of NodePorts", {{"Source"},
                                           {"State"},
                                           {"Services", true},
                                           {"Ports", true},
                                           {"Last received"},
                                           {"Errors"},
                                           {"Detail"}});
  for (const auto& [source, state] : facts.sources) {
    std::string detail = EscapeHtml(state.detail);
    if (!state.connected && !state.last_error.empty()) {
      absl::StrAppend(&detail, detail.empty() ? "" : "<br>",
                      "last error: ", EscapeHtml(state.last_error));
    }
    if (state.skipped > 0) {
      absl::StrAppend(&detail, detail.empty() ? "" : "<br>", inspect::SkippedText(source, state));
    }
    const std::string errors = inspect::ErrorsText(state);
    table.AddRow(
        {EscapeHtml(abi::Name(source)),
         absl::StrCat(state.connected ? Badge("good", "connected") : Badge("warn", "not connected"),
                      " <span class=\"soft\">", When(Known(state.since), input.now, ""), "</span>"),
         absl::StrCat(state.services), absl::StrCat(state.ports),
         When(Known(state.last_event), input.now, "never"),
         errors.empty() ? "none" : EscapeHtml(errors), detail.empty() ? "-" : detail});
  }
  return Section("sources", "Sources", table.Html());
}

std::string ProgramsText(const inspect::GuardFacts& facts) {
  const std::vector<inspect::Program> programs = inspect::Programs(facts);
  size_t attached = 0;
  std::string cgroup;
  std::vector<absl::string_view> missing;
  for (const inspect::Program& program : programs) {
    if (program.attached) {
      ++attached;
      cgroup = program.cgroup;
    } else {
      missing.push_back(program.name);
    }
  }
  std::string html = absl::StrCat(attached, " of ", programs.size(), " attached");
  if (!cgroup.empty()) absl::StrAppend(&html, " to ", Code(cgroup));
  if (!missing.empty()) {
    absl::StrAppend(&html, " ",
                    Badge("bad", absl::StrCat("missing: ", absl::StrJoin(missing, ", "))));
  }
  return html;
}

std::string TableText(const inspect::GuardFacts& facts) {
  const std::string name = Code(inspect::NftTableName());
  const std::optional<inspect::NftTable> table = inspect::VisibleTable(facts);
  if (!table) return name + " not visible from here";
  if (!table->present) return absl::StrCat(name, " ", Badge("bad", "missing"));
  return absl::StrCat(name, " in place, ", table->exempted_packets, " packets exempted, ",
                      table->flows, " flows untracked, ", table->datagram_ports,
                      " UDP ports exempt", table->owned ? "; no other process can remove it" : "");
}

std::string KubeProxyText(const inspect::GuardFacts& facts) {
  if (!inspect::SeesKubeProxyNftables(facts)) return "";
  return absl::StrCat(
      "nftables mode: leaves loopback alone",
      inspect::GuardsNodeAddresses(facts) ? ", the node's addresses are guarded" : "");
}

std::string RenderGuard(const PageInput& input) {
  const inspect::GuardFacts& guard = input.status->facts;
  HtmlFacts facts;
  const std::string pid = guard.controller > 0 ? absl::StrCat(", pid ", guard.controller) : "";
  facts.Add("Controller", guard.controller == 0
                              ? Badge("warn", "not running")
                              : absl::StrCat("running", pid, ", started ",
                                             When(guard.config.started, input.now, "")));
  facts.Add("Mode", EscapeHtml(abi::Name(guard.config.mode)));
  std::string scope = EscapeHtml(abi::Name(guard.config.scope));
  if (const std::vector<std::string> own = inspect::OwnAddresses(guard); !own.empty()) {
    absl::StrAppend(&scope, ": loopback and ", List(own));
  }
  facts.Add("Scope", scope);
  facts.Add("Programs", ProgramsText(guard));
  facts.Add("nft table", TableText(guard));
  const std::optional<inspect::NftTable> table = inspect::VisibleTable(guard);
  if (table && table->ipvs_bypass) facts.Add("IPVS bypass", "on");
  facts.Add("NodePorts", EscapeHtml(inspect::NodePortsText(input.status->nodeports)));
  facts.Add("Port range", EscapeHtml(inspect::OverlapText(guard)));
  facts.Add("Reserved ports", EscapeHtml(inspect::ReserveText(guard)));
  facts.Add("Binds", EscapeHtml(inspect::BindText(guard, input.status->refusable)));
  facts.Add("kube-proxy", KubeProxyText(guard));
  facts.Add("Listeners", EscapeHtml(inspect::PolicyText(inspect::Rules(guard))));
  facts.Add("Mark", Code(inspect::MarkText(guard.config)));
  facts.Add("Pins", Code(inspect::PinsText(guard)));
  facts.Add("Version", EscapeHtml(guard.config.version));
  facts.Add("Kernel", EscapeHtml(input.kernel));
  return Section("guard", "Data plane", facts.Html());
}

std::string RenderCounters(const PageInput& input) {
  HtmlTable table("Counters", {{"Counter"}, {"Count", true}, {"Meaning"}});
  for (const abi::CounterRow& row : abi::kCounters) {
    table.AddRow({Code(row.name), absl::StrCat(input.status->facts.counters[row.value]),
                  EscapeHtml(row.meaning)});
  }
  return Section("counters", "Counters, since the guard was loaded", table.Html());
}

std::string Title(const PageInput& input) {
  const size_t conflicts = input.status == nullptr ? 0 : input.status->conflicts.size();
  return absl::StrCat(Judge(input).tone == "bad" ? "Problem: " : "",
                      conflicts > 0 ? absl::StrCat(base::Count(conflicts, "conflict"), ": ") : "",
                      input.node.empty() ? "" : absl::StrCat(input.node, ": "), "NodePort Guard");
}

}  // namespace

std::string RenderStatusPage(const PageInput& input) {
  std::string html = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>",
      EscapeHtml(Title(input)), "</title>\n<style>", page::kStyle,
      "</style>\n<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>\n</head>\n"
      "<body>\n<div id=\"lost\" role=\"status\"></div>\n<header><h1>NodePort Guard</h1>",
      input.node.empty() ? ""
                         : absl::StrCat("<span class=\"soft\">", EscapeHtml(input.node), "</span>"),
      "</header>\n<main>\n", RenderVerdict(input));
  if (input.status != nullptr) {
    absl::StrAppend(&html, RenderConflicts(input));
    if (!input.status->notes.empty()) {
      absl::StrAppend(&html, Section("notes", "Notes", Bullets(input.status->notes)));
    }
  }
  absl::StrAppend(&html, RenderHealth(input));
  if (input.status != nullptr) {
    absl::StrAppend(&html, RenderSources(input), RenderGuard(input), RenderCounters(input));
  }
  const std::string read = base::UtcTime(input.now);
  absl::StrAppend(&html, R"(<p class="soft">As of <time datetime=")", read, "\">", read,
                  "</time></p>\n</main>\n<footer>\n<nav aria-label=\"For machines\">",
                  R"(<a href="/api/v1/status">/api/v1/status</a>)",
                  R"(<a href="/healthz">/healthz</a><a href="/readyz">/readyz</a>)",
                  input.has_metrics ? R"(<a href="/metrics">/metrics</a>)" : "",
                  "</nav>\n</footer>\n<script>", page::kScript, "</script>\n</body>\n</html>\n");
  return html;
}

std::string StatusPagePolicy() {
  return absl::StrCat("default-src 'none'; style-src '", page::kStyleHash, "'; script-src '",
                      page::kScriptHash,
                      "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                      "frame-ancestors 'none'");
}

}  // namespace npg::serve
