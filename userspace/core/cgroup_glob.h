// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_CGROUP_GLOB_H_
#define NODEPORT_GUARD_CORE_CGROUP_GLOB_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace npg::core {

// Patterns for cgroup paths below the root of the hierarchy, such as
// "/system.slice/**" or "/kubepods.slice/*/crio-*.scope". Between two slashes, '*' stands for
// any text and '?' for one character; "**" stands for one cgroup or several.

// INVALID_ARGUMENT, with the reason, for text that is no such pattern.
absl::Status CheckCgroupGlob(absl::string_view glob);

// True when the path is one of those that the pattern describes, or below one.
bool SelectsCgroup(absl::string_view glob, absl::string_view path);

// True when the pattern may select a cgroup below `path`, which it does not select itself.
bool MaySelectBelow(absl::string_view glob, absl::string_view path);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_CGROUP_GLOB_H_
