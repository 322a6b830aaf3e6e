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

// Opens the guard's programs and maps, without those that only learn the netns cookie. `scope`
// is a constant of the programs. Null, and errno set, if the embedded object cannot be opened.
Skeleton OpenGuardPrograms(abi::Scope scope);

// Loads it into the kernel. The error begins with `doing` ("load the BPF programs") and has a
// remedy: PERMISSION_DENIED names the missing capabilities, UNIMPLEMENTED is a kernel that is
// too old or was built without BPF.
absl::Status LoadSkeleton(const Skeleton& skeleton, absl::string_view doing);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_SKELETON_H_
