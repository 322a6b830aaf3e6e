// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_SKELETON_H_
#define NODEPORT_GUARD_DATAPLANE_SKELETON_H_

#include <memory>

#include "nodeport_guard.skel.h"

namespace npg::dataplane {

struct SkeletonDeleter {
  void operator()(::nodeport_guard* skeleton) const { nodeport_guard__destroy(skeleton); }
};

// Owns the BPF object: maps, programs and whatever links it was given.
using Skeleton = std::unique_ptr<::nodeport_guard, SkeletonDeleter>;

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_SKELETON_H_
