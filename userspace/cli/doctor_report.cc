// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_report.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/printable.h"
#include "base/text.h"
#include "cli/args/text.h"
#include "cli/table.h"
#include "doctor/finding.h"
#include "doctor/findings.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;
using doctor::Finding;
using doctor::Severity;

constexpr size_t kIndent = 6;

Tone ToneOf(Severity severity) {
  switch (severity) {
    case Severity::kOk:
      return Tone::kGood;
    case Severity::kNote:
      return Tone::kPlain;
    case Severity::kWarn:
      return Tone::kWarn;
    case Severity::kFail:
      return Tone::kBad;
  }
  return Tone::kPlain;
}

size_t CountOf(const std::vector<Finding>& findings, Severity severity) {
  return static_cast<size_t>(
      std::count_if(findings.begin(), findings.end(),
                    [severity](const Finding& finding) { return finding.severity == severity; }));
}

std::string Verdict(const std::vector<Finding>& findings, const Style& style) {
  const bool prevented = doctor::Prevented(findings);
  const size_t failures = CountOf(findings, Severity::kFail);
  const size_t warnings = CountOf(findings, Severity::kWarn);
  std::vector<std::string> counts;
  if (failures > 0) counts.push_back(base::Count(failures, "failure"));
  if (warnings > 0) counts.push_back(base::Count(warnings, "warning"));
  return absl::StrCat(
      Paint(prevented ? "This node cannot be guarded like this" : "This node can be guarded",
            prevented ? Tone::kBad : Tone::kGood, style),
      counts.empty() ? "" : ": ", absl::StrJoin(counts, ", "), ".\n");
}

// A paragraph with a word before it. A fix is one line, to be copied.
void Append(absl::string_view label, const std::string& text, bool wrap, const Style& style,
            std::string& out) {
  const std::string indent(kIndent, ' ');
  const size_t width = style.width > kIndent + label.size() + 1
                           ? style.width - kIndent - label.size() - 1
                           : style.width;
  bool first = true;
  for (const std::string& line : wrap ? Wrap(base::Printable(text), width)
                                      : std::vector<std::string>{base::Printable(text)}) {
    absl::StrAppend(&out, indent, first ? std::string(label) : std::string(label.size(), ' '), " ",
                    line, "\n");
    first = false;
  }
}

std::string Render(const Finding& finding, const Style& style) {
  const std::string severity = absl::AsciiStrToUpper(doctor::SeverityName(finding.severity));
  std::string out = absl::StrCat(
      Paint(severity, ToneOf(finding.severity), style), std::string(kIndent - severity.size(), ' '),
      Paint(doctor::KindOf(finding.id).name, Tone::kHeading, style), "\n");
  Append("what:", finding.what, true, style, out);
  Append("why: ", doctor::KindOf(finding.id).why, true, style, out);
  if (!finding.fix.empty()) Append("fix: ", finding.fix, false, style, out);
  return out;
}

}  // namespace

std::string RenderDoctor(const std::vector<Finding>& findings, const Style& style) {
  std::string out = Verdict(findings, style);
  for (const Severity severity : {Severity::kFail, Severity::kWarn, Severity::kNote}) {
    for (const Finding& finding : findings) {
      if (finding.severity == severity) absl::StrAppend(&out, "\n", Render(finding, style));
    }
  }
  Table table({{"", false, false}, {"", false, false}, {"", false, true}});
  for (const Finding& finding : findings) {
    if (finding.severity != Severity::kOk) continue;
    table.AddRow({{"OK", Tone::kGood}, doctor::KindOf(finding.id).name, finding.what});
  }
  return absl::StrCat(out, "\n", table.Render(style));
}

Json DoctorJson(const std::vector<Finding>& findings) {
  Json json;
  json["capable"] = !doctor::Prevented(findings);
  json["failures"] = CountOf(findings, Severity::kFail);
  json["warnings"] = CountOf(findings, Severity::kWarn);
  json["findings"] = Json::array();
  for (const Finding& finding : findings) {
    Json entry;
    entry["id"] = doctor::KindOf(finding.id).name;
    entry["severity"] = std::string(doctor::SeverityName(finding.severity));
    entry["prevents"] = finding.prevents;
    entry["what"] = finding.what;
    entry["why"] = doctor::KindOf(finding.id).why;
    entry["fix"] = finding.fix.empty() ? Json(nullptr) : Json(finding.fix);
    json["findings"].push_back(entry);
  }
  return json;
}

}  // namespace npg::cli
