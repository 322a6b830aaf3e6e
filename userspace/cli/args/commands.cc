// SPDX-License-Identifier: Apache-2.0
//
// Names, values and help of the commands and flags. command_line.cc parses them.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/decimal.h"
#include "base/errno_status.h"
#include "base/printable.h"
#include "cli/args/command_line.h"
#include "cli/args/environment.h"
#include "cli/args/flags.h"
#include "cli/args/options.h"
#include "cli/args/owner_flags.h"
#include "cli/args/protection_flags.h"
#include "cli/args/row_flag.h"
#include "cli/args/source_flags.h"
#include "cli/exit_code.h"
#include "core/mark.h"
#include "core/node_address.h"
#include "core/port.h"
#include "serve/http_address.h"

namespace npg::cli {
namespace {

using Values = std::vector<std::string>;

// The setters below hold their target by shared_ptr: the target is a member of
// the command's options, which live as long as any of its flags.

Flag OutputFlag(std::shared_ptr<OutputFormat> target) {
  auto text = std::make_shared<std::string>();
  Flag flag = ChoiceFlag("o,output", "table|json|yaml", "How to print it.", "table", text);
  flag.set = [set = flag.set, text, target = std::move(target)](const Values& values) {
    absl::Status status = set(values);
    if (!status.ok()) return status;
    *target = *text == "json"   ? OutputFormat::kJson
              : *text == "yaml" ? OutputFormat::kYaml
                                : OutputFormat::kTable;
    return status;
  };
  return flag;
}

template <typename T>
Flag NumberFlag(std::string name, std::string value, std::string help, std::shared_ptr<T> target) {
  return {
      std::move(name),
      std::move(value),
      std::move(help),
      "",
      false,
      [target = std::move(target)](const Values& values) {
        const std::string& text = values.back();
        const std::optional<T> number = base::ParseDecimal<T>(text);
        if (!number) {
          return absl::InvalidArgumentError(absl::StrCat(base::Quoted(text), " is not a number"));
        }
        *target = *number;
        return absl::OkStatus();
      }};
}

Flag MarkFlag(std::string name, std::string value, std::string help, std::string fallback,
              std::shared_ptr<std::optional<uint32_t>> target) {
  return {std::move(name),
          std::move(value),
          std::move(help),
          std::move(fallback),
          false,
          [target = std::move(target)](const Values& values) {
            const absl::StatusOr<uint32_t> bits = core::ParseMarkBits(values.back());
            if (!bits.ok()) return bits.status();
            if (*bits == 0) {
              return absl::InvalidArgumentError("is 0; at least one bit must be set");
            }
            *target = *bits;
            return absl::OkStatus();
          }};
}

struct MarkBits {
  std::shared_ptr<std::optional<uint32_t>> value = std::make_shared<std::optional<uint32_t>>();
  std::shared_ptr<std::optional<uint32_t>> mask = std::make_shared<std::optional<uint32_t>>();
};

MarkBits AddMarkFlags(FlagSet& flags, const std::string& fallback) {
  MarkBits bits;
  flags.Add(MarkFlag("mark", "BITS", "The bits of the packet mark that exempt, within --mark-mask.",
                     fallback, bits.value));
  flags.Add(MarkFlag("mark-mask", "BITS",
                     "The bits of the packet mark that the guard reads and sets.",
                     "the bits of --mark", bits.mask));
  return bits;
}

Flag SwitchFlag(std::string name, std::string help, std::shared_ptr<bool> target) {
  return {std::move(name),
          "",
          std::move(help),
          "",
          false,
          [target = std::move(target)](const Values& values) {
            const absl::StatusOr<bool> on = ParseBool(values.back());
            if (on.ok()) *target = *on;
            return on.status();
          }};
}

Flag ScopeFlag(std::shared_ptr<abi::Scope> target) {
  return RowFlag(
      "scope", abi::kScopes,
      "Which connects are guarded: to loopback addresses, or to any address of the node.",
      std::move(target));
}

Flag LocalAddressFlag(std::shared_ptr<core::AddressChoice> target) {
  return {"local-address",
          "[+]ADDRESS|CIDR",
          "With --scope local: the addresses of the node that are guarded, of those that it has, "
          "instead of the ones that are found to be its own; can be repeated. A list that begins "
          "with + adds to those.",
          "the node's own: no VIP and no other address of a Service",
          true,
          [target = std::move(target)](const Values& values) {
            const absl::StatusOr<core::AddressChoice> choice = core::ParseAddressChoice(values);
            if (choice.ok()) *target = *choice;
            return choice.status();
          }};
}

absl::Status CheckLocalAddresses(const core::AddressChoice& choice, abi::Scope scope) {
  if (!choice.given || scope == abi::Scope::kLocal) return absl::OkStatus();
  return UsageError("--local-address: is not used without --scope local");
}

Flag HttpAddressFlag(std::shared_ptr<std::optional<serve::HttpAddress>> target) {
  std::string fallback = serve::ToString(**target);
  return {"http-address",
          "ADDRESS:PORT|off",
          "Where to serve the status page (/), health (/healthz, /readyz), /metrics and "
          "/api/v1/status over HTTP: an IP address, IPv6 in brackets, and a port. There is no "
          "authentication.",
          std::move(fallback),
          false,
          [target = std::move(target)](const Values& values) {
            target->reset();
            if (values.back() == "off") return absl::OkStatus();
            const absl::StatusOr<serve::HttpAddress> address =
                serve::ParseHttpAddress(values.back());
            if (!address.ok()) {
              return absl::InvalidArgumentError(
                  absl::StrCat(base::Quoted(values.back()), " ", address.status().message()));
            }
            *target = *address;
            return absl::OkStatus();
          }};
}

void AddNodeFlags(FlagSet& flags, const std::shared_ptr<NodeOptions>& node,
                  const std::string& cgroup_help) {
  flags.Add(TextFlag("cgroup", "DIR", cgroup_help, "the root of the cgroup2 file system",
                     {node, &node->cgroup}));
  flags.Add(TextFlag("bpffs", "DIR", "The bpf file system in which the guard is pinned.",
                     node->bpffs, {node, &node->bpffs}));
}

// NODE_NAME is the usual variable in which the downward API gives a pod the node's name.
void AddKubeEventFlags(FlagSet& flags, const std::shared_ptr<RunOptions>& options,
                       std::shared_ptr<std::string> kube_events) {
  flags.Add(ChoiceFlag(
      "kube-events", "on|off",
      "Whether the Service in a conflict gets a Kubernetes Event that names the node and the "
      "process: one for each conflict, and one a day while it lasts; also one whose NodePort a "
      "process tries to bind (--bind-protection), and the Node, once a week, whose range of "
      "automatic ports has NodePorts. Only with the source kubernetes; the account needs the right "
      "to create and patch events of events.k8s.io.",
      "on", std::move(kube_events)));
  flags.Add(TextFlag("node-name", "NAME", "The name of this node in Kubernetes Events.",
                     "NODE_NAME, or the host's name", {options, &options->node_name}));
}

constexpr const char* kNamesCgroups = "The cgroup2 folder from which cgroups are named.";

}  // namespace

void CommandLine::AddRun() {
  Command& command = AddCommand(
      "run", "Guard this node: load, attach, and keep in step, in the foreground.",
      "Loads the guard into the kernel, or takes over the one that is there, and keeps it in step "
      "with the NodePorts and listeners of this node. SIGTERM and SIGINT end the controller and "
      "leave the guard in place, which keeps working with the last known NodePorts; "
      "'nodeport-guard unload' removes it.\n"
      "Needs root, or the capabilities that nodeport-guard(8) lists; it drops all others.",
      "nodeport-guard run\n"
      "nodeport-guard run --mode observe --log-format json\n"
      "nodeport-guard run --kubeconfig /etc/nodeport-guard/kubeconfig\n"
      "nodeport-guard run --reserve-ports allocated\n"
      "nodeport-guard run --bind-protection deny --bind-allow-process haproxy\n"
      "nodeport-guard run --source file --nodeports-file /etc/nodeports.yaml\n");
  auto options = std::make_shared<RunOptions>();
  auto log_format = std::make_shared<std::string>();
  auto kube_events = std::make_shared<std::string>("on");
  auto nft_owner = std::make_shared<std::string>("on");
  FlagSet& flags = command.flags;
  AddSourceFlags(flags, {options, &options->sources});
  flags.Add(
      RowFlag("mode", abi::kModes,
              "Whether to exempt (enforce) or only to count what would be exempted (observe).",
              std::shared_ptr<abi::Mode>(options, &options->mode)));
  AddNodeFlags(flags, {options, &options->node},
               "Guard the processes in this cgroup2 folder and below it.");
  const MarkBits mark = AddMarkFlags(flags, "0x1000");
  flags.Add(ScopeFlag({options, &options->scope}));
  flags.Add(LocalAddressFlag({options, &options->local_addresses}));
  AddOwnerFlags(flags, {options, &options->owners});
  const auto protection = AddProtectionFlags(flags, options);
  flags.Add(ChoiceFlag(
      "nft-owner", "on|off",
      "Whether the kernel (6.9 or later) lets no other program change or remove the guard's nft "
      "table. A saved rule set that contains the table cannot be loaded then; with off it can, "
      "and the controller restores what a load or a flush removes.",
      "on", nft_owner));
  flags.Add(SwitchFlag("detach-on-exit", "Remove the guard when the controller ends.",
                       {options, &options->detach_on_exit}));
  flags.Add(HttpAddressFlag({options, &options->http}));
  AddKubeEventFlags(flags, options, kube_events);
  flags.Add(ChoiceFlag("log-level", "trace|debug|info|warn|error", "The minimum severity to log.",
                       "info", {options, &options->log_level}));
  flags.Add(ChoiceFlag("log-format", "text|json", "The format of the log on standard error.",
                       "text", log_format));
  flags.Add(
      TextFlag("config", "FILE",
               "Read flags from a YAML file: names without the dashes as keys, lists where "
               "a flag can be repeated. The command line and the environment take precedence.",
               "", command.config_file));
  command.finish = [options, log_format, mark, kube_events, nft_owner,
                    protection](const Environment& environment) -> absl::StatusOr<Options> {
    options->log_json = *log_format == "json";
    options->kube_events = *kube_events == "on";
    options->nft_owner = *nft_owner == "on";
    if (options->node_name.empty()) options->node_name = environment("NODE_NAME").value_or("");
    NPG_RETURN_IF_ERROR(SettleOwnerPolicy(options->owners));
    NPG_RETURN_IF_ERROR(CheckLocalAddresses(options->local_addresses, options->scope));
    NPG_RETURN_IF_ERROR(SettleProtection(*protection, *options));
    const absl::StatusOr<core::Mark> combined = CombineMark(*mark.value, *mark.mask);
    if (!combined.ok()) return combined.status();
    options->mark = *combined;
    NPG_RETURN_IF_ERROR(SettleSources(options->sources, environment));
    return *options;
  };
}

void CommandLine::AddStatus() {
  Command& command = AddCommand(
      "status", "Show what is guarded now: conflicts first, then the guard's health.",
      "Reads the state in the kernel, with or without a running controller. Exit status 1 when no "
      "guard is loaded or part of it is broken; the output then begins with the broken parts.",
      "nodeport-guard status\n"
      "nodeport-guard status -o json | jq .conflicts\n");
  auto options = std::make_shared<StatusOptions>();
  command.flags.Add(OutputFlag({options, &options->output}));
  AddNodeFlags(command.flags, {options, &options->node}, kNamesCgroups);
  command.finish = [options](const Environment& /*environment*/) -> absl::StatusOr<Options> {
    return *options;
  };
}

void CommandLine::AddExplain() {
  Command& command = AddCommand(
      "explain", "Show why a connect to a port is exempted, or why not.",
      "Goes through the guard's decision row by row, with the facts of this node, for each "
      "process that listens on the port. Exit status 1 when no guard is loaded or it is broken.",
      "nodeport-guard explain 33589\n"
      "nodeport-guard explain 33589/udp -o yaml\n");
  auto options = std::make_shared<ExplainOptions>();
  CLI::Option* port = command.app->add_option("PORT");
  port->type_name("PORT[/tcp|/udp]");
  port->description("The port; without protocol, each for which it is a NodePort, else tcp.");
  command.flags.Add(OutputFlag({options, &options->output}));
  AddNodeFlags(command.flags, {options, &options->node}, kNamesCgroups);
  command.finish = [options, port](const Environment& /*environment*/) -> absl::StatusOr<Options> {
    if (port->count() == 0) {
      return UsageError("no port given, as in 'nodeport-guard explain 33589'");
    }
    const auto parsed = core::ParsePortAndProtocol(port->results().back());
    if (!parsed.ok()) return UsageError(parsed.status().message());
    options->port = parsed->port;
    options->protocol = parsed->protocol;
    return *options;
  };
}

void CommandLine::AddEvents() {
  Command& command = AddCommand(
      "events", "Follow exemptions, and binds of NodePorts, as they happen.",
      "Prints a line for each connect that is exempted (in observe mode: would be), and for each "
      "bind that --bind-protection reports or refuses, from now on, at most ten a second of each "
      "kind for one port. SIGINT and SIGTERM end it.",
      "nodeport-guard events\n"
      "nodeport-guard events -o json --count 100 > exemptions.jsonl\n");
  auto options = std::make_shared<EventsOptions>();
  auto output = std::make_shared<std::string>();
  command.flags.Add(ChoiceFlag("o,output", "text|json",
                               "How to print it; json is one object per line.", "text", output));
  command.flags.Add(NumberFlag<uint64_t>("count", "N", "End after N events; 0: never.",
                                         {options, &options->count}));
  AddNodeFlags(command.flags, {options, &options->node}, kNamesCgroups);
  command.finish = [options,
                    output](const Environment& /*environment*/) -> absl::StatusOr<Options> {
    options->json = *output == "json";
    return *options;
  };
}

void CommandLine::AddScan() {
  Command& command = AddCommand(
      "scan", "Find listeners of this node whose port is a NodePort, once.",
      "Shows whether a node is affected before anything is installed. Needs no BPF and changes "
      "nothing. Exit status 3 when there are conflicts, 0 when there are none, 5 when it cannot "
      "tell: the sources see no NodePorts, or only a part of them (as netfilter where "
      "Cilium or OVN-Kubernetes implements them; --kubeconfig makes up for it).",
      "nodeport-guard scan\n"
      "kubectl get svc -A -o yaml > svc.yaml\n"
      "nodeport-guard scan --nodeports-file svc.yaml\n");
  auto options = std::make_shared<ScanOptions>();
  command.flags.Add(OutputFlag({options, &options->output}));
  AddSourceFlags(command.flags, {options, &options->sources});
  command.flags.Add(ScopeFlag({options, &options->scope}));
  command.flags.Add(LocalAddressFlag({options, &options->local_addresses}));
  AddOwnerFlags(command.flags, {options, &options->owners});
  AddNodeFlags(command.flags, {options, &options->node},
               "Accepted because every command takes it; a scan covers all cgroups.");
  command.finish = [options](const Environment& environment) -> absl::StatusOr<Options> {
    NPG_RETURN_IF_ERROR(SettleOwnerPolicy(options->owners));
    NPG_RETURN_IF_ERROR(CheckLocalAddresses(options->local_addresses, options->scope));
    NPG_RETURN_IF_ERROR(SettleSources(options->sources, environment));
    return *options;
  };
}

void CommandLine::AddDoctor() {
  Command& command = AddCommand(
      "doctor", "Check whether this node can be guarded, what is in the way, and what to change.",
      "Tries what the guard needs from the kernel, and checks mounts, capabilities, the network "
      "namespace, foreign programs on the same hooks, rules that use the guard's mark, port "
      "ranges, kube-proxy's mode, and the guard itself. Each finding has the reason why it matters "
      "and the command or setting that fixes it. Nothing is attached, pinned or left behind.\n"
      "Exit status 4 when something keeps the guard from working here, 0 otherwise: warnings do "
      "not change it. Run it as root; otherwise it lists what it could not read.",
      "nodeport-guard doctor\n"
      "nodeport-guard doctor --mark 0x800 --scope local\n"
      "nodeport-guard doctor -o json | jq '.findings[] | select(.severity != \"ok\")'\n");
  auto options = std::make_shared<DoctorOptions>();
  command.flags.Add(OutputFlag({options, &options->output}));
  AddSourceFlags(command.flags, {options, &options->sources});
  const MarkBits mark = AddMarkFlags(command.flags, "that of the guard that is loaded, or 0x1000");
  command.flags.Add(ScopeFlag({options, &options->scope}));
  command.flags.Add(LocalAddressFlag({options, &options->local_addresses}));
  AddNodeFlags(command.flags, {options, &options->node},
               "The cgroup2 folder that is or would be guarded.");
  command.finish = [options, mark](const Environment& environment) -> absl::StatusOr<Options> {
    if (mark.value->has_value() || mark.mask->has_value()) {
      const absl::StatusOr<core::Mark> combined = CombineMark(*mark.value, *mark.mask);
      if (!combined.ok()) return combined.status();
      options->mark = *combined;
    }
    NPG_RETURN_IF_ERROR(CheckLocalAddresses(options->local_addresses, options->scope));
    NPG_RETURN_IF_ERROR(SettleSources(options->sources, environment));
    return *options;
  };
}

void CommandLine::AddUnload() {
  Command& command = AddCommand(
      "unload", "Remove everything the guard ever put on this node.",
      "Removes links, pins, the nft table and the ports that were reserved, also after a crash and "
      "also when only parts are there; it can be repeated. Lists the connections that are exempt "
      "now: without the guard "
      "they may break.",
      "nodeport-guard unload\n"
      "nodeport-guard unload --drain 60\n");
  auto options = std::make_shared<UnloadOptions>();
  command.flags.Add(NumberFlag<uint32_t>(
      "drain", "SECONDS", "Wait at most this long for exempted connections to end by themselves.",
      {options, &options->drain_seconds}));
  command.flags.Add(SwitchFlag(
      "stay", "Wait for SIGTERM after the removal: a DaemonSet restarts a container that ends.",
      {options, &options->stay}));
  AddNodeFlags(command.flags, {options, &options->node}, "The cgroup2 folder that was guarded.");
  command.finish = [options](const Environment& /*environment*/) -> absl::StatusOr<Options> {
    return *options;
  };
}

void CommandLine::AddVersion() {
  Command& command =
      AddCommand("version", "Print version, commit, and what it is built on.",
                 "ABI is the version of the pinned maps' layout.", "nodeport-guard version\n");
  command.finish = [](const Environment& /*environment*/) -> absl::StatusOr<Options> {
    return VersionOptions{};
  };
}

}  // namespace npg::cli
