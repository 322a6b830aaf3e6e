// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_OPTIONS_H_
#define NODEPORT_GUARD_CLI_ARGS_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "abi/names.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/bind_facts.h"
#include "core/intervals.h"
#include "core/mark.h"
#include "core/node_address.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "serve/http_address.h"

namespace npg::cli {

// The options of each subcommand: parsed and checked values. Whether the named
// folders and files exist is not checked here.

struct NodeOptions {
  std::string cgroup;  // empty: the cgroup2 root that mountinfo shows
  std::string bpffs = "/sys/fs/bpf";
};

// In SourceOptions::sources: the sources that the other options and the environment imply.
inline constexpr absl::string_view kAutoSource = "auto";

struct SourceOptions {
  std::vector<std::string> sources = {"auto"};  // auto, or a name in abi::kSources; as given
  std::string kubeconfig;                       // empty: none, so the pod's service account
  std::string kube_context;                     // empty: the current-context
  std::string kube_api_server;                  // as CheckServerUrl() returns it; empty: not given
  std::string nodeports_file;                   // empty: none
  bool in_cluster = false;                      // detected: in a pod with a service account
};

// The processes that bind given ports only to keep others from binding them: kube-proxy before
// Kubernetes 1.24, alone and within others, OVN-Kubernetes, and what publishes ports of containers.
// docs/design/owners.md has the source of each.
inline core::OwnerPolicy DefaultOwnerPolicy() {
  core::OwnerPolicy policy;
  policy.ignored = {"kube-proxy", "ovnkube", "k3s-server", "k3s-agent", "kubelite",
                    "hyperkube",  "crio",    "dockerd",    "conmon",    "antrea-agent"};
  return policy;
}

struct RunOptions {
  NodeOptions node;
  SourceOptions sources;
  abi::Mode mode = abi::Mode::kEnforce;
  abi::Scope scope = abi::Scope::kLoopback;
  core::AddressChoice local_addresses;  // for --scope local
  core::Mark mark;
  core::OwnerPolicy owners = DefaultOwnerPolicy();
  bool detach_on_exit = false;
  abi::ReservePorts reserve_ports = abi::ReservePorts::kOff;  // kDeny implies kAllocated
  abi::BindProtection bind_protection = abi::BindProtection::kOff;
  core::BindExceptions bind_exceptions;
  bool nft_owner = true;  // the kernel lets no other program change the nft table, where it can
  // Status page, health, metrics; nullopt: off.
  std::optional<serve::HttpAddress> http = serve::HttpAddress{false, {127, 0, 0, 1}, 9829};
  std::string log_level = "info";  // trace, debug, info, warn, error
  bool log_json = false;
  bool kube_events = true;  // where the source kubernetes is in use
  std::string node_name;    // of the Kubernetes Node object; empty: the host's name
  core::Intervals intervals;
};

enum class OutputFormat { kTable, kJson, kYaml };

struct StatusOptions {
  NodeOptions node;
  OutputFormat output = OutputFormat::kTable;
};

struct ExplainOptions {
  NodeOptions node;
  uint16_t port = 0;
  std::optional<core::Protocol> protocol;  // nullopt: both, as far as they are NodePorts
  OutputFormat output = OutputFormat::kTable;
};

struct EventsOptions {
  NodeOptions node;
  bool json = false;
  uint64_t count = 0;  // end after so many; 0: never
};

struct ScanOptions {
  NodeOptions node;
  SourceOptions sources;
  core::OwnerPolicy owners = DefaultOwnerPolicy();
  abi::Scope scope = abi::Scope::kLoopback;
  core::AddressChoice local_addresses;  // for --scope local
  OutputFormat output = OutputFormat::kTable;
};

struct DoctorOptions {
  NodeOptions node;
  SourceOptions sources;
  std::optional<core::Mark> mark;  // nullopt: the one of a guard that is loaded, or the default
  abi::Scope scope = abi::Scope::kLoopback;
  core::AddressChoice local_addresses;  // for --scope local
  OutputFormat output = OutputFormat::kTable;
};

struct UnloadOptions {
  NodeOptions node;
  uint32_t drain_seconds = 0;  // how long to wait for exempted connections to end
  bool stay = false;           // wait for SIGTERM after the removal
};

struct VersionOptions {};

// --help was given: `text` goes to standard output.
struct HelpOptions {
  std::string text;
};

using Options = std::variant<HelpOptions, RunOptions, StatusOptions, ExplainOptions, EventsOptions,
                             ScanOptions, DoctorOptions, UnloadOptions, VersionOptions>;

// The sources to use: "auto" resolved, each once, in the order of abi::kSources.
// A usage error if a flag is given for a source that is not used, or is missing
// for one that is.
absl::StatusOr<std::vector<abi::Source>> EffectiveSources(const SourceOptions& options);

// The mark of --mark and --mark-mask, each if it was given. A mark without a
// mask is its own mask. Usage error for a mark with bits outside the mask.
absl::StatusOr<core::Mark> CombineMark(std::optional<uint32_t> mark, std::optional<uint32_t> mask);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_OPTIONS_H_
