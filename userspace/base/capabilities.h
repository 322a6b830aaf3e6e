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
    kStart,     // to load the programs, on kernels that ask for it; then given up
    kOwners,    // without it, owners of sockets have no names
    kLegacy,    // without it, iptables-legacy rules cannot be read
    kOldKernel  // as kStart, on kernels before 5.11
  };
  int number;
  absl::string_view name;  // "CAP_BPF"
  Need need;
  absl::string_view purpose;  // ends the sentence "it takes this to ..."
};

// All that it uses; everything else is given up when it starts. The manifests, the
// systemd unit and the man page name the same ones.
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
// empty when it has all. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, as in
// the kernel.
std::string LackedCapabilities(std::initializer_list<int> wanted);

// Gives up for good all that is not in kCapabilities, sets no_new_privs (prctl(2)) and,
// where it may (CAP_SETPCAP), leaves to what it executes just what reads iptables' rules. Of the
// calling thread: to be called before there are others. CAP_SYS_ADMIN stays where it stands for one
// that is missing.
absl::Status KeepNeededCapabilities();

// Gives up what only loading the programs takes. Of the calling thread.
absl::Status DropStartCapabilities();

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_CAPABILITIES_H_
