// SPDX-License-Identifier: Apache-2.0
#include "cli/args/protection_flags.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "cli/args/flags.h"
#include "cli/args/list_values.h"
#include "cli/args/options.h"
#include "cli/args/row_flag.h"
#include "cli/exit_code.h"
#include "core/bind_facts.h"

namespace npg::cli {
namespace {

absl::Status SetAllowedUids(const std::vector<std::string>& given,
                            core::BindExceptions& exceptions) {
  const absl::StatusOr<std::vector<std::string>> values = WithDefault(given, {});
  if (!values.ok()) return values.status();
  absl::StatusOr<std::vector<uint32_t>> uids = ParseUids(*values, "");
  if (!uids.ok()) return uids.status();
  exceptions.uids = *std::move(uids);
  return absl::OkStatus();
}

absl::Status SetAllowedCgroups(const std::vector<std::string>& given,
                               core::BindExceptions& exceptions) {
  absl::StatusOr<std::vector<std::string>> globs = WithDefault(given, {});
  if (!globs.ok()) return globs.status();
  exceptions.cgroups = *std::move(globs);
  return CheckCgroupGlobs(exceptions.cgroups, "--bind-protection off");
}

absl::Status SetAllowedProcesses(const std::vector<std::string>& given,
                                 core::BindExceptions& exceptions) {
  absl::StatusOr<std::vector<std::string>> names = WithDefault(given, {});
  if (!names.ok()) return names.status();
  exceptions.processes = *std::move(names);
  return CheckProcessNames(exceptions.processes);
}

Flag ReservePortsFlag(const std::shared_ptr<RunOptions>& options,
                      const std::shared_ptr<ProtectionGiven>& given) {
  Flag flag = RowFlag(
      "reserve-ports", abi::kReservePorts,
      "Whether the controller adds the allocated NodePorts and healthCheckNodePorts to "
      "net.ipv4.ip_local_reserved_ports, so that the kernel assigns none of them to a socket that "
      "asks for any port. The ports that are reserved already stay so; 'unload' removes those "
      "that were added.",
      std::shared_ptr<abi::ReservePorts>(options, &options->reserve_ports));
  flag.fallback = "off; with --bind-protection deny: allocated";
  flag.set = [set = flag.set, given](const std::vector<std::string>& values) {
    given->reserve_ports = true;
    return set(values);
  };
  return flag;
}

void AddExceptionFlags(FlagSet& flags, const std::shared_ptr<core::BindExceptions>& exceptions) {
  flags.Add({"bind-allow-uid", "UID",
             "With --bind-protection: a user who may bind NodePorts, as the initial user namespace "
             "numbers it; can be repeated.",
             "", true,
             [exceptions](const auto& values) { return SetAllowedUids(values, *exceptions); }});
  flags.Add(
      {"bind-allow-cgroup", "GLOB",
       "With --bind-protection: cgroups whose processes may bind NodePorts, and those below, by "
       "path from the root of the hierarchy, such as /system.slice/**; can be repeated.",
       "", true,
       [exceptions](const auto& values) { return SetAllowedCgroups(values, *exceptions); }});
  flags.Add(
      {"bind-allow-process", "NAME",
       "With --bind-protection: a process that may bind NodePorts, by the name that ps -o comm "
       "shows; can be repeated. The processes of --ignore-process may anyway.",
       "", true,
       [exceptions](const auto& values) { return SetAllowedProcesses(values, *exceptions); }});
}

}  // namespace

std::shared_ptr<ProtectionGiven> AddProtectionFlags(FlagSet& flags,
                                                    const std::shared_ptr<RunOptions>& options) {
  auto given = std::make_shared<ProtectionGiven>();
  flags.Add(ReservePortsFlag(options, given));
  flags.Add(RowFlag(
      "bind-protection", abi::kBindProtections,
      "What happens when a process binds an allocated NodePort on an address where both collide: "
      "it is reported (warn), or bind() fails with EADDRINUSE, before Linux 6.1 with EPERM (deny). "
      "The user of a process that had the port before it became a NodePort may bind it again.",
      std::shared_ptr<abi::BindProtection>(options, &options->bind_protection)));
  AddExceptionFlags(flags, {options, &options->bind_exceptions});
  return given;
}

absl::Status SettleProtection(const ProtectionGiven& given, RunOptions& options) {
  if (options.bind_protection == abi::BindProtection::kOff) {
    const core::BindExceptions& exceptions = options.bind_exceptions;
    const absl::string_view flag = !exceptions.uids.empty()        ? "--bind-allow-uid"
                                   : !exceptions.cgroups.empty()   ? "--bind-allow-cgroup"
                                   : !exceptions.processes.empty() ? "--bind-allow-process"
                                                                   : "";
    if (flag.empty()) return absl::OkStatus();
    return UsageError(absl::StrCat(
        flag, ": is not used without --bind-protection warn or --bind-protection deny"));
  }
  if (options.bind_protection != abi::BindProtection::kDeny) return absl::OkStatus();
  if (given.reserve_ports && options.reserve_ports == abi::ReservePorts::kOff) {
    return UsageError(
        "--reserve-ports off: --bind-protection deny needs allocated: the kernel would still "
        "assign "
        "NodePorts to sockets that ask for any port, and those that then bind that number fail");
  }
  options.reserve_ports = abi::ReservePorts::kAllocated;
  return absl::OkStatus();
}

}  // namespace npg::cli
