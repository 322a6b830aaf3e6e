// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_CAPABILITIES_H_
#define NODEPORT_GUARD_BASE_CAPABILITIES_H_

#include <linux/capability.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace npg::base {

// A capability (capabilities(7)) that the controller uses.
struct Capability {
  enum class Need {
    kAlways,    // nothing works without it
    kStart,     // to load the programs, on kernels that require it; then dropped
    kOwners,    // without it, owners of sockets have no names
    kLegacy,    // without it, iptables-legacy rules cannot be read
    kOldKernel  // as kStart, on kernels before 5.11
  };
  int number;
  absl::string_view name;  // "CAP_BPF"
  Need need;
  absl::string_view purpose;  // ends the sentence "it takes this to ..."
};

// All that it uses; it drops all others when it starts. The manifests, the systemd unit
// and the man page list the same ones.
inline constexpr std::array<Capability, 7> kCapabilities = {{
    {CAP_BPF, "CAP_BPF", Capability::Need::kAlways, "load, pin and update BPF programs and maps"},
    {CAP_NET_ADMIN, "CAP_NET_ADMIN", Capability::Need::kAlways,
     "attach the programs, keep the nftables table, and see the marks of sockets"},
    {CAP_PERFMON, "CAP_PERFMON", Capability::Need::kStart,
     "load a program that reads the name of the binding process, where the kernel asks for it "
     "(Linux 6.18 does); given up after the start"},
    {CAP_NET_RAW, "CAP_NET_RAW", Capability::Need::kLegacy,
     "read iptables-legacy rules: iptables-legacy-save opens a raw socket"},
    {CAP_SYS_PTRACE, "CAP_SYS_PTRACE", Capability::Need::kOwners,
     "follow /proc/PID/exe and /proc/PID/fd of other processes, to name who owns a socket"},
    {CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", Capability::Need::kOwners,
     "search /proc/PID of other users, read token and kubeconfig files of other users, and find "
     "the path of a cgroup by its id"},
    {CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE", Capability::Need::kOldKernel,
     "raise RLIMIT_MEMLOCK, against which kernels before 5.11 count BPF memory; given up after "
     "the start"},
}};

// The effective capabilities of the calling thread, one bit each.
uint64_t EffectiveCapabilities();

// Those of `wanted` that the calling thread lacks, as "CAP_BPF, CAP_NET_ADMIN";
// empty when it has all. CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, as in
// the kernel.
std::string LackedCapabilities(std::initializer_list<int> wanted);

// Drops all capabilities of the calling thread that are not in kCapabilities, sets
// no_new_privs (prctl(2)) and, with CAP_SETPCAP, limits those of executed programs to what
// reading iptables' rules needs. Call it before there are other threads. Keeps CAP_SYS_ADMIN
// if it replaces a missing one.
absl::Status KeepNeededCapabilities();

// Drops the capabilities of the calling thread that only loading the programs needs.
absl::Status DropStartCapabilities();

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_CAPABILITIES_H_
