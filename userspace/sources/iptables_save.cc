// SPDX-License-Identifier: Apache-2.0
#include "sources/iptables_save.h"

#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/decimal.h"
#include "base/shell_words.h"
#include "core/coverage.h"
#include "core/port.h"
#include "core/service_name.h"
#include "core/service_ref.h"
#include "sources/skipped_lines.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

// The parts of a rule that determine its ports.
struct Rule {
  std::string protocol;
  std::string comment;
  std::string target;
  std::string destination_type;
  std::vector<uint16_t> ports;
};

// "80", "80,443". A range is an error: neither kube-proxy nor portmap writes one.
absl::StatusOr<std::vector<uint16_t>> ParsePorts(absl::string_view text) {
  std::vector<uint16_t> ports;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const absl::StatusOr<uint16_t> port = core::ParsePort(part);
    if (!port.ok()) return port.status();
    ports.push_back(*port);
  }
  return ports;
}

// The field for the value of an option; nullptr for irrelevant options.
std::string* Field(Rule& rule, absl::string_view option) {
  if (option == "-p") return &rule.protocol;
  if (option == "--comment") return &rule.comment;
  if (option == "-j" || option == "-g") return &rule.target;
  if (option == "--dst-type") return &rule.destination_type;
  return nullptr;
}

// `words` after "-A CHAIN".
absl::StatusOr<Rule> ParseRule(const std::vector<std::string>& words, size_t begin) {
  Rule rule;
  for (size_t i = begin; i < words.size(); ++i) {
    const std::string& option = words[i];
    const bool ports = option == "--dport" || option == "--dports";
    std::string* const field = Field(rule, option);
    if (!ports && field == nullptr) continue;
    if (words[i - 1] == "!") {
      return absl::InvalidArgumentError(absl::StrCat("negated ", option));
    }
    if (++i == words.size()) {
      return absl::InvalidArgumentError(absl::StrCat(option, " without a value"));
    }
    if (field != nullptr) {
      *field = words[i];
      continue;
    }
    absl::StatusOr<std::vector<uint16_t>> numbers = ParsePorts(words[i]);
    if (!numbers.ok()) return numbers.status();
    rule.ports = *std::move(numbers);
  }
  return rule;
}

// Nothing for SCTP.
absl::StatusOr<std::optional<core::Protocol>> RuleProtocol(absl::string_view text) {
  if (absl::EqualsIgnoreCase(text, "sctp")) return std::nullopt;
  const std::optional<int> number = base::ParseDecimal<int>(text);
  if (!number) {
    const absl::StatusOr<core::Protocol> protocol = core::ParseProtocol(text);
    if (!protocol.ok()) return protocol.status();
    return *protocol;
  }
  if (*number == IPPROTO_SCTP) return std::nullopt;
  if (*number == IPPROTO_TCP) return core::Protocol::kTcp;
  if (*number == IPPROTO_UDP) return core::Protocol::kUdp;
  return absl::InvalidArgumentError(absl::StrCat(text, " is not a protocol (tcp, udp)"));
}

class Parser {
 public:
  absl::StatusOr<SavedRules> Parse(absl::string_view text) {
    saved_.reading = NothingSeen();
    while (!text.empty()) {
      const size_t end = text.find('\n');
      ++line_;
      ParseLine(text.substr(0, end));
      text.remove_prefix(end == absl::string_view::npos ? text.size() : end + 1);
    }
    if (!table_.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the output ends within table ", core::Printable(table_)));
    }
    saved_.reading.skipped = std::move(skipped_).Take();
    return std::move(saved_);
  }

 private:
  enum class Chain { kOther, kNodePorts, kExternalServices, kHostPorts };

  void Skip(absl::string_view why) { skipped_.Add(absl::StrCat("line ", line_, ": ", why)); }

  void ParseLine(absl::string_view line) {
    if (line.empty() || line.front() == '#') return;
    if (line.front() == '*') {
      table_ = std::string(line.substr(1));
    } else if (table_.empty()) {
      Skip(absl::StrCat("\"", core::Printable(line), "\" is in no table"));
    } else if (line == "COMMIT") {
      saved_.has_nat |= table_ == "nat";
      saved_.has_filter |= table_ == "filter";
      table_.clear();
    } else if (line.front() == '[') {
      // Counters, as iptables-save -c puts before a rule.
      const size_t end = line.find("] ");
      ParseAppend(end == absl::string_view::npos ? line : line.substr(end + 2));
    } else if (line.front() == ':') {
      // ":KUBE-NODEPORTS - [0:0]"
      NoteChain(ChainOf(line.substr(1, line.find(' ') - 1)));
    } else {
      ParseAppend(line);
    }
  }

  void ParseAppend(absl::string_view line) {
    constexpr absl::string_view kAppend = "-A ";
    if (!absl::StartsWith(line, kAppend)) {
      return Skip(absl::StrCat("\"", core::Printable(line), "\" is not a rule"));
    }
    const absl::string_view rest = line.substr(kAppend.size());
    const absl::string_view name = rest.substr(0, rest.find(' '));
    const Chain chain = ChainOf(name);
    if (chain == Chain::kOther) return;
    NoteChain(chain);
    const std::optional<std::vector<std::string>> words = base::ShellWords(line);
    if (!words) return Skip(absl::StrCat("an open quote in a rule of ", name));
    const absl::StatusOr<Rule> rule = ParseRule(*words, 2);
    if (!rule.ok()) {
      return Skip(absl::StrCat(rule.status().message(), " in a rule of ", name));
    }
    AddRule(chain, name, *rule);
  }

  void NoteChain(Chain chain) {
    if (chain == Chain::kNodePorts) saved_.reading.coverage = core::Coverage::kAll;
  }

  Chain ChainOf(absl::string_view name) const {
    if (table_ == "nat" && name == kKubeNodePorts) return Chain::kNodePorts;
    if (table_ == "nat" && name == kCniHostPorts) return Chain::kHostPorts;
    if (table_ == "filter" && name == kKubeExternalServices) return Chain::kExternalServices;
    return Chain::kOther;
  }

  static bool TargetFits(Chain chain, absl::string_view target) {
    switch (chain) {
      case Chain::kNodePorts:
        return absl::StartsWith(target, "KUBE-");
      case Chain::kExternalServices:
        return target == "REJECT" || target == "DROP";
      case Chain::kHostPorts:
        return absl::StartsWith(target, "CNI-DN-");
      case Chain::kOther:
        return false;
    }
    return false;
  }

  void AddRule(Chain chain, absl::string_view name, const Rule& rule) {
    // The rejects of external and load balancer addresses concern no local port.
    if (chain == Chain::kExternalServices && rule.destination_type != "LOCAL") return;
    if (!TargetFits(chain, rule.target)) {
      return Skip(
          absl::StrCat("target \"", core::Printable(rule.target), "\" in a rule of ", name));
    }
    if (rule.ports.empty()) return Skip(absl::StrCat("no --dport in a rule of ", name));
    const absl::StatusOr<std::optional<core::Protocol>> protocol = RuleProtocol(rule.protocol);
    if (!protocol.ok()) {
      return Skip(absl::StrCat(protocol.status().message(), " in a rule of ", name));
    }
    if (!protocol->has_value()) return;
    const core::ServiceRef service = core::ServiceOfComment(rule.comment);
    for (const uint16_t port : rule.ports) {
      core::ServiceRef& entry = saved_.reading.ports[core::PortKey{port, **protocol}];
      if (entry.empty()) entry = service;
    }
  }

  size_t line_ = 0;
  std::string table_;  // empty between tables
  SavedRules saved_;
  SkippedLines skipped_;
};

}  // namespace

absl::StatusOr<SavedRules> ParseIptablesSave(absl::string_view text) {
  return Parser().Parse(text);
}

}  // namespace npg::sources
