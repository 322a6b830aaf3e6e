// SPDX-License-Identifier: Apache-2.0
#include "serve/status_page.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "abi/guard_abi_text.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "guard_abi.h"
#include "log/health.h"
#include "serve/html.h"
#include "serve/json_field.h"
#include "serve/page_files.h"

namespace npg::serve {
namespace {

using Json = nlohmann::ordered_json;

// A page with more is of no use to anybody.
constexpr size_t kMaxConflicts = 500;

// Any value, as people read it.
std::string Text(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}
std::string Text(const Json& json, const char* key) { return Text(Field(json, key)); }

std::string Html(const Json& json, const char* key) { return EscapeHtml(Text(json, key)); }

std::string Code(absl::string_view text) {
  return text.empty() ? "" : absl::StrCat("<code>", EscapeHtml(text), "</code>");
}

uint64_t Count(const Json& number) {
  return static_cast<uint64_t>(std::max(0.0, NumberIn(number).value_or(0)));
}

size_t Size(const Json& json, const char* key) {
  const Json& value = Field(json, key);
  return value.is_array() ? value.size() : 0;
}

std::string List(const Json& json, const char* key) {
  std::vector<std::string> items;
  if (const Json& value = Field(json, key); value.is_array()) {
    for (const Json& item : value) items.push_back(Text(item));
  }
  return EscapeHtml(absl::StrJoin(items, ", "));
}

std::string When(const Json& json, const char* key, absl::Time now, absl::string_view never) {
  const std::string time = Text(json, key);
  if (!time.empty()) return TimeAgo(time, now);
  return absl::StrCat("<span class=\"nowrap\">", EscapeHtml(never), "</span>");
}

std::string Plural(uint64_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string Bullets(const Json& list) {
  std::string html = "<ul>\n";
  for (const Json& item : list) absl::StrAppend(&html, "<li>", EscapeHtml(Text(item)), "</li>\n");
  return html + "</ul>\n";
}

struct Verdict {
  absl::string_view tone;
  std::string text;
};

// The whole page in one line.
Verdict Judge(const PageInput& input) {
  if (input.document == nullptr) return {"bad", "The state of this node is not known"};
  const Json& document = *input.document;
  if (!IsTrue(Field(document, "healthy"))) return {"bad", "The guard is broken"};
  if (!input.live.ok) return {"bad", "The guard is not healthy"};
  if (!input.ready.ok) return {"warn", "The guard is not ready yet"};
  const std::string known =
      Plural(Count(Field(Field(Field(document, "guard"), "nodeports"), "total")), "NodePort");
  if (Text(Field(document, "guard"), "mode") == "observe") {
    return {"warn", absl::StrCat("Only observing ", known, ": nothing is exempted")};
  }
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
  if (input.document == nullptr) {
    html += Bullets(Json::array({input.error}));
  } else if (Size(*input.document, "problems") > 0) {
    html += Bullets(Field(*input.document, "problems"));
  }
  return html + "</section>\n";
}

// An IPv4 address is short enough for a line of its own.
std::string AddressCell(const std::string& address) {
  return absl::StrCat("<span", address.find(':') == std::string::npos ? " class=\"nowrap\"" : "",
                      ">", Code(address), "</span>");
}

std::string OwnerName(const Json& owner) {
  const std::string comm = Text(owner, "comm");
  if (comm.empty()) return absl::StrCat("uid ", Html(owner, "uid"));
  return absl::StrCat("<strong>", EscapeHtml(comm), "</strong> pid&nbsp;", Html(owner, "pid"));
}

std::string OwnerCell(const Json& owner) {
  std::vector<std::string> details;
  if (!Text(owner, "comm").empty()) details.push_back(absl::StrCat("uid ", Html(owner, "uid")));
  if (!Text(owner, "executable").empty()) details.push_back(Code(Text(owner, "executable")));
  if (!Text(owner, "pod_uid").empty()) {
    details.push_back(absl::StrCat("pod ", Html(owner, "pod_uid")));
  }
  if (const std::string id = Text(owner, "container_id"); !id.empty()) {
    constexpr size_t kShortId = 12;
    details.push_back(absl::StrCat(Html(owner, "container_runtime"), " container ",
                                   EscapeHtml(absl::string_view(id).substr(0, kShortId))));
  }
  if (!Text(owner, "unit").empty()) details.push_back(Html(owner, "unit"));
  if (details.size() < 3 && !Text(owner, "cgroup").empty()) {
    details.push_back(absl::StrCat("cgroup ", Code(Text(owner, "cgroup"))));
  }
  if (Size(owner, "holders") > 1) {
    details.push_back(absl::StrCat("shared by ", Size(owner, "holders"), " processes"));
  }
  return absl::StrCat(OwnerName(owner), details.empty() ? "" : "<br><span class=\"soft\">",
                      absl::StrJoin(details, ", "), details.empty() ? "" : "</span>");
}

std::string RenderConflicts(const PageInput& input) {
  constexpr absl::string_view kId = "conflicts";
  const Json& document = *input.document;
  const Json& conflicts = Field(document, "conflicts");
  const size_t count = Size(document, "conflicts");
  if (Field(Field(document, "guard"), "same_network_namespace") == false) {
    return Section(kId, "Conflicts", "<p>Not visible from here.</p>\n");
  }
  if (count == 0) {
    return Section(kId, "No conflicts",
                   "<p>Nobody on this node listens on a NodePort that is guarded.</p>\n");
  }
  const bool observe = Text(Field(document, "guard"), "mode") == "observe";
  HtmlTable table("Listeners on NodePorts", {{"Port"},
                                             {"Service"},
                                             {"Listener"},
                                             {"Owner"},
                                             {"State"},
                                             {observe ? "Observed" : "Exempted", true},
                                             {"Last"},
                                             {"Since"}});
  for (size_t i = 0; i < std::min(count, kMaxConflicts); ++i) {
    const Json& conflict = conflicts[i];
    const std::string service = Text(conflict, "service");
    const bool ignored = Text(conflict, "verdict") == "ignored";
    table.AddRow(
        {absl::StrCat("<span class=\"nowrap\">", Html(conflict, "port"), "/",
                      Html(conflict, "protocol"), "</span>"),
         service.empty() ? "<span class=\"soft\">name not known</span>" : EscapeHtml(service),
         AddressCell(Text(conflict, "listener")), OwnerCell(Field(conflict, "owner")),
         ignored   ? Badge("warn", "ignored")
         : observe ? Badge("warn", "observed")
                   : Badge("good", "guarded"),
         Html(conflict, observe ? "observed" : "exempted"),
         When(conflict, "last", input.now, "never"), When(conflict, "since", input.now, "")});
  }
  std::string html = table.Html();
  if (count > kMaxConflicts) {
    absl::StrAppend(&html, "<p>", count - kMaxConflicts,
                    " more are in <a href=\"/api/v1/status\">/api/v1/status</a>.</p>\n");
  }
  return Section(
      kId, absl::StrCat("Conflicts: ", Plural(count, "listener"), " on the port of a NodePort"),
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

std::string ErrorsText(const Json& errors) {
  std::vector<std::string> parts;
  if (errors.is_object()) {
    for (const auto& [kind, count] : errors.items()) {
      if (count != 0) parts.push_back(absl::StrCat(EscapeHtml(kind), " ", EscapeHtml(Text(count))));
    }
  }
  return parts.empty() ? "none" : absl::StrJoin(parts, ", ");
}

std::string RenderSources(const PageInput& input) {
  const Json& sources = Field(*input.document, "sources");
  if (Size(*input.document, "sources") == 0) return "";
  HtmlTable table("Sources of NodePorts", {{"Source"},
                                           {"State"},
                                           {"Services", true},
                                           {"Ports", true},
                                           {"Last heard"},
                                           {"Errors"},
                                           {"Detail"}});
  for (const Json& source : sources) {
    const bool connected = IsTrue(Field(source, "connected"));
    std::string detail = Html(source, "detail");
    if (!connected && !Text(source, "last_error").empty()) {
      absl::StrAppend(&detail, detail.empty() ? "" : "<br>",
                      "last error: ", Html(source, "last_error"));
    }
    if (Count(Field(source, "skipped")) > 0) {
      absl::StrAppend(&detail, detail.empty() ? "" : "<br>", "skipped: ", Html(source, "skipped"));
    }
    table.AddRow(
        {Html(source, "source"),
         absl::StrCat(connected ? Badge("good", "connected") : Badge("warn", "not connected"),
                      " <span class=\"soft\">", When(source, "since", input.now, ""), "</span>"),
         Html(source, "services"), Html(source, "ports"),
         When(source, "last_event", input.now, "never"), ErrorsText(Field(source, "errors")),
         detail.empty() ? "-" : detail});
  }
  return Section("sources", "Sources", table.Html());
}

std::string ProgramsText(const Json& programs) {
  size_t attached = 0;
  std::string cgroup;
  std::vector<std::string> missing;
  for (const Json& program : programs) {
    if (IsTrue(Field(program, "attached"))) {
      ++attached;
      cgroup = Text(program, "cgroup");
    } else {
      missing.push_back(Text(program, "name"));
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

std::string TableText(const Json& table) {
  const std::string name = Code(Text(table, "name"));
  if (Field(table, "present").is_null()) return name.empty() ? "" : name + " not visible from here";
  if (!IsTrue(Field(table, "present"))) return absl::StrCat(name, " ", Badge("bad", "missing"));
  return absl::StrCat(name, " in place, ", Html(table, "exempted_packets"), " packets exempted, ",
                      Html(table, "flows"), " flows untracked, ", Html(table, "datagram_ports"),
                      " UDP ports exempt",
                      IsTrue(Field(table, "owned")) ? "; nobody else can remove it" : "");
}

std::string NodePortsText(const Json& nodeports) {
  if (!nodeports.is_object()) return "";
  std::vector<std::string> parts;
  for (const auto& [source, count] : nodeports.items()) {
    if (source == "total" || count == 0) continue;
    parts.push_back(absl::StrCat(EscapeHtml(source), " ", EscapeHtml(Text(count))));
  }
  return absl::StrCat(Html(nodeports, "total"), " known", parts.empty() ? "" : ": ",
                      absl::StrJoin(parts, ", "));
}

std::string KubeProxyText(const Json& kube_proxy) {
  if (!kube_proxy.is_object()) return "";
  return absl::StrCat(
      Html(kube_proxy, "mode"), " mode",
      IsTrue(Field(kube_proxy, "hijacks_loopback")) ? "" : ": leaves loopback alone",
      IsTrue(Field(kube_proxy, "node_addresses_guarded")) ? ", the node's addresses are guarded"
                                                          : "");
}

std::string RenderGuard(const PageInput& input) {
  const Json& guard = Field(*input.document, "guard");
  const Json& controller = Field(guard, "controller");
  HtmlFacts facts;
  if (controller.is_object()) {
    const std::string pid = Text(controller, "pid");
    facts.Add("Controller",
              IsTrue(Field(controller, "running"))
                  ? absl::StrCat("running", pid.empty() ? "" : ", pid ", EscapeHtml(pid),
                                 ", started ", When(guard, "started", input.now, ""))
                  : Badge("warn", "not running"));
  }
  facts.Add("Mode", Html(guard, "mode"));
  std::string scope = Html(guard, "scope");
  if (Size(guard, "own_addresses") > 0) {
    absl::StrAppend(&scope, ": loopback and ", List(guard, "own_addresses"));
  }
  facts.Add("Scope", scope);
  if (const Json& programs = Field(guard, "programs"); programs.is_array()) {
    facts.Add("Programs", ProgramsText(programs));
  }
  facts.Add("nft table", TableText(Field(guard, "nft_table")));
  if (IsTrue(Field(Field(guard, "nft_table"), "ipvs_dodge"))) facts.Add("IPVS dodge", "on");
  facts.Add("NodePorts", NodePortsText(Field(guard, "nodeports")));
  facts.Add("kube-proxy", KubeProxyText(Field(guard, "kube_proxy")));
  if (Size(guard, "only_process") > 0) {
    facts.Add("Listeners", absl::StrCat("only those of ", List(guard, "only_process")));
  } else if (Size(guard, "ignore_process") > 0) {
    facts.Add("Listeners", absl::StrCat("all but those of ", List(guard, "ignore_process")));
  }
  if (!Text(guard, "mark").empty()) {
    facts.Add("Mark", Code(absl::StrCat(Text(guard, "mark"), "/", Text(guard, "mark_mask"))));
  }
  facts.Add("Pins", Code(Text(guard, "pins")));
  facts.Add("Version", Html(guard, "version"));
  facts.Add("Kernel", EscapeHtml(input.kernel));
  return Section("guard", "Data plane", facts.Html());
}

std::string RenderCounters(const PageInput& input) {
  const Json& counters = Field(*input.document, "counters");
  if (!counters.is_object() || counters.empty()) return "";
  HtmlTable table("Counters", {{"Counter"}, {"Count", true}, {"Meaning"}});
  for (const auto& [name, count] : counters.items()) {
    std::string meaning;
    for (int i = 0; i < NPG_COUNTER_MAX; ++i) {
      const auto counter = static_cast<npg_counter>(i);
      if (name == abi::CounterName(counter)) {
        meaning = std::string(abi::CounterMeaning(counter));
      }
    }
    table.AddRow({Code(name), EscapeHtml(Text(count)), EscapeHtml(meaning)});
  }
  return Section("counters", "Counters, since the guard was loaded", table.Html());
}

std::string Title(const PageInput& input) {
  const size_t conflicts = input.document == nullptr ? 0 : Size(*input.document, "conflicts");
  return absl::StrCat(Judge(input).tone == "bad" ? "Problem: " : "",
                      conflicts > 0 ? absl::StrCat(Plural(conflicts, "conflict"), ": ") : "",
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
  if (input.document != nullptr) {
    absl::StrAppend(&html, RenderConflicts(input));
    if (const Json& notes = Field(*input.document, "notes"); notes.is_array() && !notes.empty()) {
      absl::StrAppend(&html, Section("notes", "Notes", Bullets(notes)));
    }
  }
  absl::StrAppend(&html, RenderHealth(input));
  if (input.document != nullptr) {
    absl::StrAppend(&html, RenderSources(input), RenderGuard(input), RenderCounters(input));
  }
  const std::string read = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", input.now, absl::UTCTimeZone());
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
