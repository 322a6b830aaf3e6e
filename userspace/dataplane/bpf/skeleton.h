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

// Owns the BPF object: maps, programs and whatever links it was given.
using Skeleton = std::unique_ptr<::nodeport_guard, SkeletonDeleter>;

// The guard's programs and maps, ready to be loaded: without those that only learn the netns
// cookie. `scope` is built into the programs. Null, and errno set, when the embedded object
// cannot be opened.
Skeleton OpenGuardPrograms(abi::Scope scope);

// Loads what is to be loaded of it into the kernel. The error begins with `doing` ("load the BPF
// programs") and says what to do: PERMISSION_DENIED names the capabilities that are missing,
// UNIMPLEMENTED is a kernel that is too old or was built without.
absl::Status LoadSkeleton(const Skeleton& skeleton, absl::string_view doing);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_SKELETON_H_
