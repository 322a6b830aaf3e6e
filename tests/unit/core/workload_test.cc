// SPDX-License-Identifier: Apache-2.0
#include "core/workload.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace npg::core::workload_test {
namespace {

const std::string& Id() {
  static const auto* const kId =
      new std::string("3f1c0d9be2a84756918273645fabcdef0123456789abcdef0123456789abcdef");
  return *kId;
}
constexpr const char* kUid = "0d5f3a1c-7b2e-4c8d-9e6f-112233445566";
constexpr const char* kUidOfSystemd = "0d5f3a1c_7b2e_4c8d_9e6f_112233445566";
constexpr const char* kStaticUid = "5a1f0c3d9b8e7f6a4d2c1b0a99887766";

Workload Unit(const std::string& unit) { return {unit, "", "", ""}; }
Workload Pod(const std::string& uid, const std::string& runtime) {
  return {"", uid, Id(), runtime};
}

TEST(ParseCgroupPathTest, Units) {
  EXPECT_EQ(ParseCgroupPath("/system.slice/containerd.service"), Unit("containerd.service"));
  EXPECT_EQ(ParseCgroupPath("/user.slice/user-0.slice/session-3.scope"), Unit("session-3.scope"));
  EXPECT_EQ(ParseCgroupPath("/user.slice/user-1000.slice/user@1000.service/app.slice/"
                            "app-agent@2.service"),
            Unit("app-agent@2.service"));
  // A service may have cgroups below its own.
  EXPECT_EQ(ParseCgroupPath("/system.slice/k3s.service/child"), Unit("k3s.service"));
  EXPECT_EQ(ParseCgroupPath("/init.scope"), Unit("init.scope"));
  EXPECT_EQ(ParseCgroupPath("/system.slice/system-serial\\x2dgetty.slice/agent.service"),
            Unit("agent.service"));
}

TEST(ParseCgroupPathTest, NothingKnown) {
  for (const char* path :
       {"", "/", "//", "/mine", "/system.slice", "/.service", "/kubepods/burstable"}) {
    EXPECT_TRUE(ParseCgroupPath(path).empty()) << path;
  }
}

TEST(ParseCgroupPathTest, PodsOfTheSystemdDriver) {
  const std::string slice = absl::StrCat(
      "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod", kUidOfSystemd, ".slice/");
  EXPECT_EQ(ParseCgroupPath(absl::StrCat(slice, "cri-containerd-", Id(), ".scope")),
            Pod(kUid, "containerd"));
  EXPECT_EQ(ParseCgroupPath(absl::StrCat(slice, "crio-", Id(), ".scope")), Pod(kUid, "cri-o"));
  EXPECT_EQ(ParseCgroupPath(absl::StrCat(slice, "docker-", Id(), ".scope")), Pod(kUid, "docker"));
  // Guaranteed pods have no class in between; a static pod's uid is a hash.
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/kubepods.slice/kubepods-pod", kStaticUid, ".slice/crio-",
                                         Id(), ".scope")),
            Pod(kStaticUid, "cri-o"));
  // kubelet with its own cgroup root.
  EXPECT_EQ(ParseCgroupPath(absl::StrCat(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
                "kubelet-kubepods-besteffort-pod",
                kUidOfSystemd, ".slice/cri-containerd-", Id(), ".scope")),
            Pod(kUid, "containerd"));
}

TEST(ParseCgroupPathTest, PodsOfTheCgroupfsDriver) {
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/kubepods/burstable/pod", kUid, "/", Id())),
            Pod(kUid, ""));
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/kubepods/pod", kUid, "/crio-", Id())),
            Pod(kUid, "cri-o"));
  EXPECT_EQ(
      ParseCgroupPath(absl::StrCat("/kubelet/kubepods/besteffort/pod", kStaticUid, "/", Id())),
      Pod(kStaticUid, ""));
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/k8s.io/", Id())), (Workload{"", "", Id(), ""}));
}

// kubelet uses the systemd driver, containerd the cgroupfs driver.
TEST(ParseCgroupPathTest, DriversThatDisagree) {
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/system.slice/containerd.service/kubepods-besteffort-pod",
                                         kUidOfSystemd, ".slice:cri-containerd:", Id())),
            Pod(kUid, "containerd"));
}

TEST(ParseCgroupPathTest, ContainersWithoutPod) {
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/docker/", Id())), (Workload{"", "", Id(), "docker"}));
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/system.slice/docker-", Id(), ".scope")),
            (Workload{"", "", Id(), "docker"}));
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/machine.slice/libpod-", Id(), ".scope/container")),
            (Workload{"", "", Id(), "podman"}));
}

TEST(ParseCgroupPathTest, IgnoresUnitsInsideAContainer) {
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/docker/", Id(), "/system.slice/kubelet.service")),
            (Workload{"", "", Id(), "docker"}));
}

// The pod's sandbox scope or the pod's own folder.
TEST(ParseCgroupPathTest, PodWithoutContainer) {
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/kubepods/pod", kUid)), (Workload{"", kUid, "", ""}));
}

// As seen by a process in another cgroup namespace.
TEST(ParseCgroupPathTest, FromWithinAnotherCgroupNamespace) {
  EXPECT_EQ(ParseCgroupPath("/../../../system.slice/kubelet.service"), Unit("kubelet.service"));
  EXPECT_EQ(ParseCgroupPath(absl::StrCat("/../../pod", kUid, "/", Id())), Pod(kUid, ""));
}

TEST(ParseCgroupPathTest, NamesThatOnlyLookAlike) {
  const std::string short_id = Id().substr(1);
  std::string upper = Id();
  upper[3] = 'C';
  for (const std::string& name :
       {"/cri-containerd-" + short_id, "/docker/" + upper, "/kubepods/podx" + short_id,
        std::string("/kubepods/pod"),
        std::string("/kubepods/pod0d5f3a1c-7b2e-4c8d-9e6f-11223344556g"),
        std::string("/not-pod") + kUidOfSystemd + ".slice", "/:" + Id(), "/a:b:c:" + Id(),
        std::string(5000, '/') + std::string(70000, 'f'), std::string("/\x01\xff\n\x00", 5)}) {
    EXPECT_TRUE(ParseCgroupPath(name).empty()) << name.substr(0, 100);
  }
}

TEST(PickCgroupPathTest, Cgroup2Alone) {
  EXPECT_EQ(PickCgroupPath("0::/system.slice/containerd.service\n"),
            "/system.slice/containerd.service");
  EXPECT_EQ(PickCgroupPath("0::/\n"), "/");
}

TEST(PickCgroupPathTest, FromACgroupNamespace) {
  EXPECT_EQ(PickCgroupPath("0::/../../../../system.slice/containerd.service\n"),
            "/system.slice/containerd.service");
  EXPECT_EQ(PickCgroupPath("0::/../..\n"), "/");
  EXPECT_EQ(PickCgroupPath("0::/..hidden/unit.service\n"), "/..hidden/unit.service");
}

TEST(PickCgroupPathTest, OldHierarchies) {
  const std::string pod = absl::StrCat("/kubepods/burstable/pod", kUid, "/", Id());
  // Hybrid, cgroupfs driver: the runtime left the cgroup2 hierarchy alone.
  EXPECT_EQ(
      PickCgroupPath(absl::StrCat("12:pids:", pod, "\n4:cpu,cpuacct:", pod,
                                  "\n1:name=systemd:", pod, "\n0::/system.slice/c.service\n")),
      pod);
  EXPECT_EQ(PickCgroupPath("12:pids:/\n3:memory:/system.slice/a.service\n"
                           "1:name=systemd:/system.slice/b.service\n0::/\n"),
            "/system.slice/b.service");
  EXPECT_EQ(PickCgroupPath("12:pids:/p\n1:name=systemd:/init.scope\n0::/init.scope\n"),
            "/init.scope");
  EXPECT_EQ(PickCgroupPath("3:memory:/a:b\n"), "/a:b");
}

TEST(PickCgroupPathTest, Garbage) {
  for (const char* text : {"", "\n", "0", "0:", "0::", "0::x", "::", "a:b:c\n:::"}) {
    EXPECT_EQ(PickCgroupPath(text), "") << text;
  }
}

TEST(WorkloadTest, Text) {
  EXPECT_EQ(ToString(Workload{}), "");
  EXPECT_EQ(ToString(Unit("kubelet.service")), "kubelet.service");
  EXPECT_EQ(ToString(Pod(kUid, "cri-o")),
            absl::StrCat("pod ", kUid, " cri-o container 3f1c0d9be2a8"));
  EXPECT_EQ(ToString(Workload{"", "", Id(), ""}), "container 3f1c0d9be2a8");
}

}  // namespace
}  // namespace npg::core::workload_test
