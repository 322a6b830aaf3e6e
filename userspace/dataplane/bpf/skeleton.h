// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_SKELETON_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_SKELETON_H_

#include <memory>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nodeport_guard.skel.h"

namespace npg::dataplane {

struct SkeletonDeleter {
  void operator()(::nodeport_guard* skeleton) const { nodeport_guard__destroy(skeleton); }
};

// Owns the BPF object: maps, programs and links.
using Skeleton = std::unique_ptr<::nodeport_guard, SkeletonDeleter>;

// The settings that are constants of the loaded programs.
struct ProgramConstants {
  abi::Scope scope = abi::Scope::kLoopback;
  abi::BindProtection bind = abi::BindProtection::kOff;
};

// Opens the guard's programs and maps, without those that only learn the netns cookie. With bind
// protection it loads a program, see HasSetRetval(). Null, and errno set, if the embedded object
// cannot be opened.
Skeleton OpenGuardPrograms(const ProgramConstants& constants);

// True when programs at bind() can choose the error of a bind that they refuse: bpf_set_retval(),
// for them since Linux 6.1 (69fd337a975c). Without it bind() fails with EPERM.
bool HasSetRetval();

// Loads it into the kernel. The error begins with `doing` ("load the BPF programs") and has a
// remedy: PERMISSION_DENIED names the missing capabilities, UNIMPLEMENTED is a kernel that is
// too old or was built without BPF.
absl::Status LoadSkeleton(const Skeleton& skeleton, absl::string_view doing);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_SKELETON_H_
