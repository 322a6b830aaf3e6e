// SPDX-License-Identifier: Apache-2.0
#include "base/capabilities.h"

#include <sys/capability.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/errno_status.h"

namespace npg::base {
namespace {

struct CapFree {
  void operator()(cap_t sets) const { cap_free(sets); }
};
using Sets = std::unique_ptr<std::remove_pointer_t<cap_t>, CapFree>;

bool Has(const Sets& sets, int capability) {
  cap_flag_value_t value = CAP_CLEAR;
  return cap_get_flag(sets.get(), capability, CAP_EFFECTIVE, &value) == 0 && value == CAP_SET;
}

bool HasOrStandsFor(const Sets& sets, int capability) {
  if (Has(sets, capability)) return true;
  return (capability == CAP_BPF || capability == CAP_PERFMON) && Has(sets, CAP_SYS_ADMIN);
}

// Drops all capabilities but `kept`; adds none.
absl::Status Keep(const Sets& before, const std::vector<int>& kept) {
  const Sets after(cap_init());
  if (!after) return ErrnoStatus(errno, "cap_init");
  for (const int capability : kept) {
    if (!Has(before, capability)) continue;
    for (const cap_flag_t flag : {CAP_PERMITTED, CAP_EFFECTIVE}) {
      if (cap_set_flag(after.get(), flag, 1, &capability, CAP_SET) != 0) {
        return ErrnoStatus(errno, "cap_set_flag");
      }
    }
  }
  if (cap_set_proc(after.get()) != 0) return ErrnoStatus(errno, "capset");
  return absl::OkStatus();
}

// With no_new_privs, a program that root executes gets the capabilities of this process that
// are in the bounding set; without, the whole bounding set. The controller executes only the
// programs that print iptables' rules.
absl::Status BoundWhatIsExecuted() {
  for (int capability = 0; cap_get_bound(capability) >= 0; ++capability) {
    const bool keep = capability == CAP_NET_ADMIN || capability == CAP_NET_RAW;
    if (keep || cap_get_bound(capability) == 0) continue;
    if (cap_drop_bound(capability) != 0) {
      return ErrnoStatus(errno,
                         absl::StrCat("drop capability ", capability, " of the bounding set"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t EffectiveCapabilities() {
  const Sets sets(cap_get_proc());
  uint64_t bits = 0;
  for (int capability = 0; sets && capability < 64; ++capability) {
    if (Has(sets, capability)) bits |= uint64_t{1} << capability;
  }
  return bits;
}

std::string LackedCapabilities(std::initializer_list<int> wanted) {
  const Sets sets(cap_get_proc());
  std::vector<absl::string_view> lacked;
  for (const Capability& capability : kCapabilities) {
    for (const int one : wanted) {
      if (one == capability.number && sets && !HasOrStandsFor(sets, one)) {
        lacked.push_back(capability.name);
      }
    }
  }
  return absl::StrJoin(lacked, ", ");
}

absl::Status KeepNeededCapabilities() {
  const Sets sets(cap_get_proc());
  if (!sets) return ErrnoStatus(errno, "capget");
  std::vector<int> kept(kCapabilities.size());
  std::transform(kCapabilities.begin(), kCapabilities.end(), kept.begin(),
                 [](const Capability& capability) { return capability.number; });
  if (!Has(sets, CAP_BPF) || !Has(sets, CAP_PERFMON)) kept.push_back(CAP_SYS_ADMIN);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ErrnoStatus(errno, "set no_new_privs");
  // Lowering the bounding set needs CAP_SETPCAP, which Keep() drops.
  if (Has(sets, CAP_SETPCAP)) {
    NPG_RETURN_IF_ERROR(BoundWhatIsExecuted());
  }
  return Keep(sets, kept);
}

absl::Status DropStartCapabilities() {
  const Sets sets(cap_get_proc());
  if (!sets) return ErrnoStatus(errno, "capget");
  std::vector<int> kept;
  for (const Capability& capability : kCapabilities) {
    if (capability.need != Capability::Need::kStart &&
        capability.need != Capability::Need::kOldKernel) {
      kept.push_back(capability.number);
    }
  }
  if (!Has(sets, CAP_BPF)) kept.push_back(CAP_SYS_ADMIN);
  return Keep(sets, kept);
}

}  // namespace npg::base
