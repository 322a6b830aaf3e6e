// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_PIN_PATHS_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_PIN_PATHS_H_

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::dataplane {

// Where the guard's kernel objects are pinned: below `bpffs`/nodeport-guard, mode 0700.
// `bpffs` is a folder on a bpf file system (default /sys/fs/bpf).
class PinPaths {
 public:
  static constexpr const char* kDefaultBpffs = "/sys/fs/bpf";

  explicit PinPaths(std::string bpffs) : bpffs_(std::move(bpffs)) {}

  const std::string& bpffs() const { return bpffs_; }
  std::string Root() const { return bpffs_ + "/nodeport-guard"; }
  std::string Maps() const { return Root() + "/maps"; }
  std::string Links() const { return Root() + "/links"; }
  std::string Programs() const { return Root() + "/programs"; }
  std::string Map(absl::string_view name) const { return absl::StrCat(Maps(), "/", name); }
  std::string Link(absl::string_view name) const { return absl::StrCat(Links(), "/", name); }
  std::string Program(absl::string_view name) const { return absl::StrCat(Programs(), "/", name); }

 private:
  std::string bpffs_;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_PIN_PATHS_H_
