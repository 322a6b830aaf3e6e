// SPDX-License-Identifier: Apache-2.0
#include "rules/legacy_reader.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/epoll.h>
// After <netinet/in.h>, whose declarations the kernel's headers leave out then.
#include <linux/netfilter.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/capabilities.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/small_file.h"
#include "base/subprocess.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "rules/save_command.h"
#include "rules/save_parser.h"

namespace npg::rules {
namespace {

constexpr std::array<absl::string_view, 5> kLegacyTables = {"raw", "mangle", "nat", "filter",
                                                            "security"};

absl::string_view LegacyPrefix(uint8_t family) {
  return family == NFPROTO_IPV4 ? "iptables" : "ip6tables";
}

// Puts what is parsed into a RuleSet, and notes the tables.
class LegacySink : public SaveParser::Sink {
 public:
  LegacySink(RuleSet& rules, absl::btree_set<TableId>& tables) : rules_(rules), tables_(tables) {}

  void Chain(const ChainName& chain) override {
    tables_.insert(chain.table);
    rules_.BeginChain(chain);
  }
  void Append(const ChainName& chain, const Rule& rule) override { rules_.Append(chain, rule); }

 private:
  RuleSet& rules_;
  absl::btree_set<TableId>& tables_;
};

// The legacy programs print "you must be root" when one capability is missing: they open a raw
// socket.
absl::Status NameLegacyCapability(const absl::Status& status) {
  const std::string lacked = base::LackedCapabilities({CAP_NET_RAW});
  if (lacked.empty()) return status;
  return absl::PermissionDeniedError(
      absl::StrCat(status.message(), "; this process lacks ", lacked, ": add that"));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> LegacyReader::Tables() const {
  constexpr size_t kMaxNames = size_t{64} << 10;
  const std::string path = absl::StrCat(
      options_.proc_net, family_ == NFPROTO_IPV4 ? "/ip_tables_names" : "/ip6_tables_names");
  const absl::StatusOr<std::string> names = base::ReadSmallFile(path, kMaxNames);
  if (absl::IsNotFound(names.status())) return std::vector<std::string>();
  if (!names.ok()) return base::Annotate(names.status(), "read");
  std::vector<std::string> tables = absl::StrSplit(*names, '\n', absl::SkipEmpty());
  const auto unknown = [](const std::string& name) {
    return std::find(kLegacyTables.begin(), kLegacyTables.end(), name) == kLegacyTables.end();
  };
  tables.erase(std::remove_if(tables.begin(), tables.end(), unknown), tables.end());
  return tables;
}

bool LegacyReader::Read(RuleSet& rules) {
  status_ = absl::OkStatus();
  skipped_.clear();
  unread_ = false;
  const absl::StatusOr<std::vector<std::string>> tables = Tables();
  if (!tables.ok()) {
    status_ = tables.status();
    return false;
  }
  if (tables->empty()) return Forget(rules);
  // Searched each time: the package may be installed while this runs.
  const std::string command =
      FindLegacySaveCommand(LegacyPrefix(family_), options_.command_folders);
  if (command.empty()) {
    NoCommand(*tables);
    return false;
  }
  if (Forget(rules)) rules.Compact();
  status_ = Run(command, rules);
  return true;
}

void LegacyReader::NoCommand(const std::vector<std::string>& tables) {
  unread_ = true;
  const std::string line = absl::StrCat("the legacy tables ", absl::StrJoin(tables, ", "),
                                        " cannot be read: there is no ", LegacyPrefix(family_),
                                        "-legacy-save; install the package iptables");
  // Ports that the rules of an earlier reading take may still be taken.
  if (!tables_.empty()) {
    status_ = absl::NotFoundError(line);
  } else {
    skipped_.push_back(line);
  }
}

bool LegacyReader::Forget(RuleSet& rules) {
  const bool had_any = !tables_.empty();
  for (const TableId& table : tables_) rules.ForgetTable(table);
  tables_.clear();
  base_chains_.clear();
  return had_any;
}

absl::Status LegacyReader::Run(const std::string& command, RuleSet& rules) {
  absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  absl::Status ended = absl::CancelledError(absl::StrCat(command, " was stopped"));
  if (options_.stop_fd >= 0) {
    NPG_RETURN_IF_ERROR(
        (*loop)->AddFd(options_.stop_fd, EPOLLIN, [&loop](uint32_t) { (*loop)->Stop(); }));
  }
  LegacySink sink(rules, tables_);
  SaveParser parser(family_, sink);
  base::Subprocess::Limits limits;
  limits.timeout = options_.command_timeout;
  const auto process = base::Subprocess::Start(
      **loop, {command}, limits, [&parser](absl::string_view piece) { parser.Feed(piece); },
      [&](const absl::StatusOr<std::string>& output) {
        ended = output.status();
        (*loop)->Stop();
      });
  if (!process.ok()) return process.status();
  NPG_RETURN_IF_ERROR((*loop)->Run());
  base_chains_ = parser.base_chains();
  for (const std::string& line : parser.skipped()) {
    skipped_.push_back(absl::StrCat(command, ": ", line));
  }
  if (absl::IsInternal(ended)) return NameLegacyCapability(ended);
  if (!ended.ok()) return ended;
  const absl::Status whole = parser.Finish();
  return whole.ok() ? whole : base::Annotate(whole, command);
}

}  // namespace npg::rules
