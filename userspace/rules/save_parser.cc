// SPDX-License-Identifier: Apache-2.0
#include "rules/save_parser.h"

#include <netinet/in.h>

// After netinet/in.h.
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/service_name.h"
#include "rules/rule.h"
#include "rules/save_options.h"
#include "rules/save_words.h"

namespace npg::rules {
namespace {

// iptables-save prints a rule of at most 15 ports, a few names of 32 bytes and a comment of 256.
constexpr size_t kMaxSavedLine = size_t{64} << 10;
// Hostile input may have a million errors.
constexpr size_t kMaxSkippedNamed = 100;

struct SavedHook {
  absl::string_view table;
  absl::string_view chain;
  uint32_t hook;
  int32_t priority;
};

// The priorities of IPv6 are the same (linux/netfilter_ipv6.h). The chain INPUT of nat is not one
// of them: it has SNAT only.
constexpr std::array<SavedHook, 8> kSavedHooks = {{
    {"raw", "OUTPUT", NF_INET_LOCAL_OUT, NF_IP_PRI_RAW},
    {"mangle", "OUTPUT", NF_INET_LOCAL_OUT, NF_IP_PRI_MANGLE},
    {"nat", "OUTPUT", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST},
    {"filter", "OUTPUT", NF_INET_LOCAL_OUT, NF_IP_PRI_FILTER},
    {"security", "OUTPUT", NF_INET_LOCAL_OUT, NF_IP_PRI_SECURITY},
    {"mangle", "INPUT", NF_INET_LOCAL_IN, NF_IP_PRI_MANGLE},
    {"filter", "INPUT", NF_INET_LOCAL_IN, NF_IP_PRI_FILTER},
    {"security", "INPUT", NF_INET_LOCAL_IN, NF_IP_PRI_SECURITY},
}};

// Removes "[12:3456] ", as iptables-save -c prints it before a rule.
absl::string_view WithoutSavedCounters(absl::string_view line) {
  if (!absl::StartsWith(line, "[")) return line;
  const size_t end = line.find("] ");
  return end == absl::string_view::npos ? line : line.substr(end + 2);
}

}  // namespace

void SaveParser::Feed(absl::string_view piece) {
  while (!piece.empty()) {
    const size_t end = piece.find('\n');
    if (end == absl::string_view::npos) return Keep(piece);
    ++line_;
    if (pending_.empty()) {
      ParseLine(piece.substr(0, end));
    } else {
      Keep(piece.substr(0, end));
      ParseLine(pending_);
      pending_.clear();
    }
    piece.remove_prefix(end + 1);
  }
}

// One byte more than the maximum shows that the line is too long.
void SaveParser::Keep(absl::string_view part_of_line) {
  absl::StrAppend(&pending_, part_of_line.substr(0, kMaxSavedLine + 1 - pending_.size()));
}

absl::Status SaveParser::Finish() {
  // A rule without its end may be another rule.
  const bool begins_table = absl::StartsWith(pending_, "*");
  if (!pending_.empty() && !begins_table && (table_.empty() || pending_ == "COMMIT")) {
    ++line_;
    ParseLine(pending_);
    pending_.clear();
  }
  if (table_.empty() && !begins_table) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the output ends within table ", core::Printable(table_)));
}

void SaveParser::ParseLine(absl::string_view line) {
  if (line.empty() || line.front() == '#') return;
  if (line.size() > kMaxSavedLine) return Skip(line, "is too long");
  if (line == "*") return Skip(line, "is not a table");
  if (line.front() == '*') {
    table_ = std::string(line.substr(1));
    numbers_.clear();
  } else if (table_.empty()) {
    Skip(line, "is in no table");
  } else if (line == "COMMIT") {
    table_.clear();
    numbers_.clear();
  } else if (line.front() == ':') {
    ParseChain(line);
  } else {
    ParseRule(line);
  }
}

// ":KUBE-NODEPORTS - [0:0]", ":OUTPUT DROP [0:0]".
void SaveParser::ParseChain(absl::string_view line) {
  const size_t end = line.find(' ');
  if (end == absl::string_view::npos || end < 2) return Skip(line, "is not a chain");
  const absl::string_view policy = line.substr(end + 1);
  chain_ = {.table = Table(), .name = std::string(line.substr(1, end - 1))};
  if (!numbers_.try_emplace(chain_.name, 0).second) return Skip(line, "is a chain again");
  sink_.Chain(chain_);
  for (const SavedHook& hook : kSavedHooks) {
    if (hook.table != table_ || hook.chain != chain_.name) continue;
    base_chains_.push_back({.chain = chain_,
                            .hook = hook.hook,
                            .priority = hook.priority,
                            .nat = table_ == "nat",
                            .drops = absl::StartsWith(policy, "DROP")});
  }
}

void SaveParser::ParseRule(absl::string_view line) {
  const absl::string_view rule = WithoutSavedCounters(line);
  if (!absl::StartsWith(rule, "-A ")) return Skip(line, "is not a rule");
  if (!words_.Split(rule)) return Skip(line, "has an open quote");
  if (words_.words().size() < 2) return Skip(line, "has no chain");
  const absl::string_view name = words_.words()[1];
  const auto number = numbers_.find(name);
  if (number == numbers_.end()) return Skip(line, "is in a chain that is not declared");
  // A skipped rule has a number, too: numbers are those of `iptables -L --line-numbers`.
  rule_.handle = ++number->second;
  rule_.comment.clear();
  rule_.steps.clear();
  const auto is_chain = [this](absl::string_view target) { return numbers_.contains(target); };
  if (!ParseSavedOptions(family_, SaveCursor(words_.words().subspan(2)), is_chain, rule_)) {
    return Skip(line, "is not a rule of iptables-save");
  }
  if (chain_.name != name || chain_.table.name != table_) {
    chain_ = {.table = Table(), .name = std::string(name)};
  }
  sink_.Append(chain_, rule_);
}

TableId SaveParser::Table() const {
  return {.engine = Engine::kLegacy, .family = family_, .name = table_};
}

void SaveParser::Skip(absl::string_view line, absl::string_view why) {
  ++skipped_lines_;
  if (skipped_lines_ <= kMaxSkippedNamed) {
    skipped_.push_back(absl::StrCat("line ", line_, ": \"", core::Printable(line), "\" ", why));
    return;
  }
  if (skipped_lines_ == kMaxSkippedNamed + 1) skipped_.emplace_back();
  skipped_.back() = absl::StrCat("and ", skipped_lines_ - kMaxSkippedNamed, " more");
}

std::optional<Rule> ParseSavedRule(uint8_t family, absl::Span<const absl::string_view> words,
                                   absl::FunctionRef<bool(absl::string_view name)> is_chain) {
  Rule rule;
  if (!ParseSavedOptions(family, SaveCursor(words), is_chain, rule)) return std::nullopt;
  return rule;
}

}  // namespace npg::rules
