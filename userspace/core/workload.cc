// SPDX-License-Identifier: Apache-2.0
#include "core/workload.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace npg::core {
namespace {

constexpr size_t kIdLength = 64;
constexpr size_t kShortId = 12;  // as in the runtimes' own tools

bool IsHex(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
}

bool IsContainerId(absl::string_view text) {
  return text.size() == kIdLength && std::all_of(text.begin(), text.end(), IsHex);
}

// A UUID, or the hash of 32 digits of a static pod. In systemd's slice names dashes
// separate folders, so its driver writes underscores.
std::string PodUid(absl::string_view text) {
  constexpr size_t kHash = 32;
  constexpr size_t kUuid = 36;
  const std::string uid = absl::StrReplaceAll(text, {{"_", "-"}});
  if (uid.size() != kHash && uid.size() != kUuid) return "";
  const bool well_formed = std::all_of(uid.begin(), uid.end(), [&](char c) {
    return IsHex(c) || (c == '-' && uid.size() == kUuid);
  });
  return well_formed ? uid : "";
}

// "pod<uid>" of the cgroupfs driver, "kubepods[-<class>]-pod<uid>.slice" of the systemd
// driver, which may have a prefix ("kubelet-kubepods-...").
std::string PodOf(absl::string_view name) {
  if (absl::ConsumeSuffix(&name, ".slice")) {
    const size_t at = name.rfind("-pod");
    if (at == absl::string_view::npos || !absl::StrContains(name.substr(0, at), "kubepods")) {
      return "";
    }
    name.remove_prefix(at + 1);
  }
  return absl::ConsumePrefix(&name, "pod") ? PodUid(name) : "";
}

// "<prefix>-<id>.scope" of the systemd driver, "<id>" or "<prefix>-<id>" of cgroupfs.
bool TakeContainer(absl::string_view name, Workload& workload) {
  constexpr std::array<std::pair<absl::string_view, absl::string_view>, 4> kRuntimes{{
      {"cri-containerd-", "containerd"},
      {"crio-", "cri-o"},
      {"docker-", "docker"},
      {"libpod-", "podman"},
  }};
  absl::ConsumeSuffix(&name, ".scope");
  std::string runtime;
  for (const auto& [prefix, known] : kRuntimes) {
    if (absl::ConsumePrefix(&name, prefix)) {
      runtime = std::string(known);
      break;
    }
  }
  if (!IsContainerId(name)) return false;
  workload.container_id = std::string(name);
  workload.runtime = std::move(runtime);
  return true;
}

// "<slice>:cri-containerd:<id>" and "<slice>:crio:<id>": the folder name of a runtime with
// the cgroupfs driver under a kubelet with the systemd driver.
bool TakeUnresolved(absl::string_view name, Workload& workload) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, ':');
  if (parts.size() != 3 || !IsContainerId(parts[2])) return false;
  workload.pod_uid = PodOf(parts[0]);
  TakeContainer(absl::StrCat(parts[1], "-", parts[2]), workload);
  return !workload.container_id.empty();
}

// In a cgroup namespace, a path outside begins with one "/.." for each level of the
// namespace's root; their names are not visible.
absl::string_view WithoutLevelsAbove(absl::string_view path) {
  for (absl::string_view rest = path; absl::ConsumePrefix(&rest, "/..");) {
    if (!rest.empty() && rest.front() != '/') break;
    path = rest;
  }
  return path.empty() ? "/" : path;
}

bool IsUnit(absl::string_view name) {
  constexpr std::array<absl::string_view, 5> kKinds{".service", ".scope", ".socket", ".mount",
                                                    ".swap"};
  return std::any_of(kKinds.begin(), kKinds.end(), [&](absl::string_view kind) {
    return name.size() > kind.size() && absl::EndsWith(name, kind);
  });
}

}  // namespace

Workload ParseCgroupPath(absl::string_view path) {
  Workload workload;
  bool docker = false;  // in the folder of containers of docker's cgroupfs driver
  for (const absl::string_view name : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    // Ignore the levels below a container: a systemd in it has units, too.
    if (TakeUnresolved(name, workload) || TakeContainer(name, workload)) {
      if (docker && workload.runtime.empty()) workload.runtime = "docker";
      workload.unit.clear();
      return workload;
    }
    if (std::string pod = PodOf(name); !pod.empty()) workload.pod_uid = std::move(pod);
    if (IsUnit(name)) workload.unit = std::string(name);
    docker = name == "docker";
  }
  if (!workload.pod_uid.empty()) workload.unit.clear();
  return workload;
}

std::string PickCgroupPath(absl::string_view proc_cgroup) {
  std::string first;
  std::string unified;
  for (const absl::string_view line : absl::StrSplit(proc_cgroup, '\n', absl::SkipEmpty())) {
    // hierarchy-ID:controllers:path; the path may contain colons.
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3 || !absl::StartsWith(fields[2], "/")) continue;
    const absl::string_view path = WithoutLevelsAbove(fields[2]);
    const Workload workload = ParseCgroupPath(path);
    if (!workload.container_id.empty()) return std::string(path);
    if (fields[0] == "0") unified = std::string(path);
    // Of the cgroup v1 hierarchies, prefer systemd's own; those of controllers may lag.
    if (path != "/" && (first.empty() || fields[1] == "name=systemd")) first = std::string(path);
  }
  return unified.empty() || unified == "/" ? (first.empty() ? unified : first) : unified;
}

std::string ToString(const Workload& workload) {
  std::vector<std::string> parts;
  if (!workload.pod_uid.empty()) parts.push_back(absl::StrCat("pod ", workload.pod_uid));
  if (!workload.container_id.empty()) {
    parts.push_back(
        absl::StrCat(workload.runtime.empty() ? "" : absl::StrCat(workload.runtime, " "),
                     "container ", workload.container_id.substr(0, kShortId)));
  }
  return parts.empty() ? workload.unit : absl::StrJoin(parts, " ");
}

}  // namespace npg::core
