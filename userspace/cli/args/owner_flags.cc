// SPDX-License-Identifier: Apache-2.0
#include "cli/args/owner_flags.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/errno_status.h"
#include "cli/args/flags.h"
#include "cli/args/list_values.h"
#include "cli/args/options.h"
#include "cli/exit_code.h"
#include "core/owner_policy.h"

namespace npg::cli {
namespace {

absl::Status SetGuardUids(const std::vector<std::string>& given, core::OwnerPolicy& policy) {
  absl::StatusOr<std::vector<std::string>> values = WithDefault(given, {"0"});
  if (!values.ok()) return values.status();
  policy.any_uid = std::erase(*values, "any") > 0;
  absl::StatusOr<std::vector<uint32_t>> uids = ParseUids(*values, " nor 'any'");
  if (!uids.ok()) return uids.status();
  policy.uids = *std::move(uids);
  return absl::OkStatus();
}

}  // namespace

void AddOwnerFlags(FlagSet& flags, const std::shared_ptr<core::OwnerPolicy>& policy) {
  const std::vector<std::string> ignored = policy->ignored;
  flags.Add({"guard-uid", "UID",
             "A user whose listeners are protected, as the initial user namespace numbers it, or "
             "'any'; can be repeated. The values replace the default; if each begins with + "
             "(+1000,+1001), they are added to it.",
             "0", true, [policy](const auto& values) { return SetGuardUids(values, *policy); }});
  flags.Add({"guard-cgroup", "GLOB",
             "Protect also the listeners of every user in these cgroups and below, by path from "
             "the root of the hierarchy, such as /system.slice/**; can be repeated.",
             "", true, [policy](const auto& values) {
               policy->cgroups = values;
               return CheckCgroupGlobs(values, "--guard-uid any");
             }});
  flags.Add({"ignore-process", "NAME",
             "A process whose sockets on given ports only hold these and are not to be protected, "
             "by the name that ps -o comm shows; can be repeated. The values replace the default "
             "('' for none); if each begins with + (+A,+B), they are added to it.",
             absl::StrJoin(ignored, ","), true, [policy, ignored](const auto& values) {
               absl::StatusOr<std::vector<std::string>> all = WithDefault(values, ignored);
               if (!all.ok()) return all.status();
               policy->ignored = *std::move(all);
               return CheckProcessNames(policy->ignored);
             }});
  flags.Add({"only-process", "NAME",
             "Protect the sockets of processes of this name and of no others, by the name that ps "
             "-o comm shows; can be repeated.",
             "", true, [policy](const auto& values) {
               policy->only = values;
               return CheckProcessNames(values);
             }});
}

absl::Status SettleOwnerPolicy(core::OwnerPolicy& policy) {
  if (policy.ignored == DefaultOwnerPolicy().ignored) {
    std::erase_if(policy.ignored, [&policy](const std::string& name) {
      return std::find(policy.only.begin(), policy.only.end(), name) != policy.only.end();
    });
    return absl::OkStatus();
  }
  for (const std::string& name : policy.only) {
    if (std::find(policy.ignored.begin(), policy.ignored.end(), name) != policy.ignored.end()) {
      return UsageError(absl::StrCat("--only-process ", name, ": --ignore-process names it, too"));
    }
  }
  return absl::OkStatus();
}

}  // namespace npg::cli
