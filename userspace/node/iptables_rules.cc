// SPDX-License-Identifier: Apache-2.0
#include "node/iptables_rules.h"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/shell_words.h"
#include "core/mark.h"
#include "node/mark_use.h"

namespace npg::node {
namespace {

// The uses in one rule. --mark is also an option of connmark, --set-xmark of CONNMARK.
void FindMarks(const std::vector<std::string>& words, MarkUse use, std::vector<MarkUse>& marks) {
  absl::string_view match, target;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const absl::string_view word = words[i];
    if (word == "-m") match = words[i + 1];
    if (word == "-j" || word == "-g") target = words[i + 1];
    const bool matches = word == "--mark" && match == "mark" && target.empty();
    const bool sets = (target == "MARK" &&
                       (word == "--set-xmark" || word == "--set-mark" || word == "--or-mark")) ||
                      (target == "TPROXY" && word == "--tproxy-mark");
    if (!matches && !sets) continue;
    const absl::StatusOr<core::Mark> mark = core::ParseMark(words[i + 1]);
    if (!mark.ok()) continue;
    use.kind = matches ? MarkUse::Kind::kMatch : MarkUse::Kind::kSet;
    use.value = mark->value;
    use.mask = mark->mask;
    marks.push_back(use);
  }
}

bool Has(const std::vector<std::string>& words, const std::vector<absl::string_view>& sequence) {
  for (size_t i = 0; i + sequence.size() <= words.size(); ++i) {
    size_t same = 0;
    while (same < sequence.size() && words[i + same] == sequence[same]) ++same;
    if (same == sequence.size()) return true;
  }
  return false;
}

}  // namespace

IptablesRules ParseIptablesRules(absl::string_view saved, absl::string_view program) {
  IptablesRules rules;
  std::string table;
  for (const absl::string_view line : absl::StrSplit(saved, '\n')) {
    if (absl::StartsWith(line, "*")) {
      table = std::string(line.substr(1));
      rules.tables.insert(table);
    } else if (absl::StartsWith(line, ":")) {
      rules.ipvs_mode |= table == "nat" && absl::StartsWith(line, ":KUBE-NODE-PORT ");
    } else if (absl::StartsWith(line, "-A ")) {
      // Most lines of a big cluster have neither.
      const bool jump = table == "nat" && absl::StrContains(line, "-j KUBE-NODEPORTS");
      rules.localhost_nfacct |= absl::StrContains(line, "localhost_nps_");
      if (!jump && !absl::StrContains(line, "mark")) continue;
      const std::optional<std::vector<std::string>> words = base::ShellWords(line);
      if (!words) continue;
      if (jump && Has(*words, {"-j", "KUBE-NODEPORTS"})) {
        rules.nodeports = true;
        rules.loopback_too |= !Has(*words, {"!", "-d", "127.0.0.0/8"});
      }
      FindMarks(*words, {absl::StrCat(program, " table ", table), std::string(line)}, rules.marks);
    }
  }
  return rules;
}

}  // namespace npg::node
