// SPDX-License-Identifier: Apache-2.0
#include "core/owner_policy.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>

#include "core/listener.h"
#include "core/port.h"

namespace npg::core::owner_policy_test {
namespace {

constexpr uint16_t kPort = 33589;

Listener BoundBy(const std::optional<Binder>& binder, Protocol protocol = Protocol::kTcp) {
  Listener listener;
  listener.key = {kPort, protocol};
  listener.binder = binder;
  return listener;
}

Binder Root(const std::string& comm, uint16_t asked_port = kPort) {
  return {812, comm, 0, 77, asked_port};
}

OwnerVerdict Judge(const OwnerPolicy& policy, const Binder& binder) {
  return OwnerRules{policy, {}}.Judge(BoundBy(binder));
}

TEST(OwnerPolicyTest, GuardsRootByDefault) {
  const OwnerPolicy policy;
  EXPECT_FALSE(policy.IgnoresByDefault());
  EXPECT_EQ(Judge(policy, Root("containerd")), OwnerVerdict::kGuarded);
  EXPECT_EQ(Judge(policy, Root("")), OwnerVerdict::kGuarded);
  EXPECT_EQ(Judge(policy, {812, "containerd", 1000, 77, kPort}), OwnerVerdict::kUntrusted);
}

// A name can be chosen by any process: it never makes an owner trusted.
TEST(OwnerPolicyTest, ANameDoesNotMakeAnOwnerTrusted) {
  OwnerPolicy policy;
  policy.only = {"kubelet"};
  EXPECT_EQ(Judge(policy, {812, "kubelet", 65534, 77, 0}), OwnerVerdict::kUntrusted);
}

TEST(OwnerPolicyTest, GuardsNamedUsers) {
  OwnerPolicy policy;
  policy.uids = {1000, 1001};
  EXPECT_EQ(Judge(policy, {812, "agent", 1001, 77, kPort}), OwnerVerdict::kGuarded);
  EXPECT_EQ(Judge(policy, Root("containerd")), OwnerVerdict::kUntrusted);
  policy.any_uid = true;
  EXPECT_EQ(Judge(policy, Root("containerd")), OwnerVerdict::kGuarded);
}

TEST(OwnerPolicyTest, GuardsServedCgroupsWhateverTheUser) {
  OwnerRules rules;
  rules.served_cgroups = {77};
  EXPECT_EQ(rules.Judge(BoundBy(Binder{812, "agent", 1000, 77, kPort})), OwnerVerdict::kGuarded);
  EXPECT_EQ(rules.Judge(BoundBy(Binder{812, "agent", 1000, 78, kPort})), OwnerVerdict::kUntrusted);
  // The id of a cgroup that is not known.
  EXPECT_EQ(rules.Judge(BoundBy(Binder{812, "agent", 1000, 0, kPort})), OwnerVerdict::kUntrusted);
}

TEST(OwnerPolicyTest, WithoutARecordTheOwnerIsUntrusted) {
  OwnerRules rules;
  EXPECT_EQ(rules.Judge(BoundBy(std::nullopt)), OwnerVerdict::kUntrusted);
  rules.policy.any_uid = true;
  EXPECT_EQ(rules.Judge(BoundBy(std::nullopt)), OwnerVerdict::kGuarded);
  rules.policy.only = {"crio"};
  EXPECT_EQ(rules.Judge(BoundBy(std::nullopt)), OwnerVerdict::kIgnored);
}

// bind() failed, or the socket was disconnected and got a number from the kernel since.
TEST(OwnerPolicyTest, ARecordOfAnotherPortIsNone) {
  OwnerPolicy policy;
  EXPECT_EQ(Judge(policy, Root("containerd", kPort + 1)), OwnerVerdict::kUntrusted);
  policy.any_uid = true;
  EXPECT_EQ(Judge(policy, Root("containerd", kPort + 1)), OwnerVerdict::kGuarded);
}

// The streaming server of CRI-O asks for any port; its hostPort holders ask for theirs.
TEST(OwnerPolicyTest, AHolderIsASocketThatAskedForItsPort) {
  OwnerPolicy policy;
  policy.ignored = {"kube-proxy", "crio"};
  EXPECT_EQ(Judge(policy, Root("crio")), OwnerVerdict::kIgnored);
  EXPECT_EQ(Judge(policy, Root("crio", 0)), OwnerVerdict::kGuarded);
  for (const char* name : {"", "kube", "kube-proxy2", "Kube-proxy", "crio "}) {
    EXPECT_EQ(Judge(policy, Root(name)), OwnerVerdict::kGuarded) << name;
  }
}

TEST(OwnerPolicyTest, GuardsOnlyNamedProcesses) {
  OwnerPolicy policy;
  policy.only = {"containerd", "crio"};
  EXPECT_TRUE(policy.IgnoresByDefault());
  for (const uint16_t asked : {uint16_t{0}, kPort}) {
    EXPECT_EQ(Judge(policy, Root("containerd", asked)), OwnerVerdict::kGuarded);
    for (const char* name : {"", "containerd-shim", "cri"}) {
      EXPECT_EQ(Judge(policy, Root(name, asked)), OwnerVerdict::kIgnored) << name;
    }
  }
}

TEST(OwnerPolicyTest, ANameInBothListsIsGuardedWhereItHoldsNothing) {
  OwnerPolicy policy;
  policy.ignored = {"crio"};
  policy.only = {"crio"};
  EXPECT_EQ(Judge(policy, Root("crio")), OwnerVerdict::kIgnored);
  EXPECT_EQ(Judge(policy, Root("crio", 0)), OwnerVerdict::kGuarded);
  EXPECT_EQ(Judge(policy, Root("containerd", 0)), OwnerVerdict::kIgnored);
}

TEST(OwnerPolicyTest, AUdpSocketThatAskedForNoPortIsNoListener) {
  const OwnerRules rules;
  EXPECT_EQ(rules.Judge(BoundBy(Root("coredns"), Protocol::kUdp)), OwnerVerdict::kGuarded);
  EXPECT_EQ(rules.Judge(BoundBy(Root("coredns", 0), Protocol::kUdp)), OwnerVerdict::kNoListener);
  EXPECT_EQ(rules.Judge(BoundBy(std::nullopt, Protocol::kUdp)), OwnerVerdict::kNoListener);
  // A bind() that failed, and then an automatic port.
  EXPECT_EQ(rules.Judge(BoundBy(Root("coredns", 53), Protocol::kUdp)), OwnerVerdict::kNoListener);
}

// --- What is assumed of a socket without a record ---

Binder Guess(const std::string& address, Protocol protocol, uint16_t port = kPort) {
  Listener listener;
  listener.key = {port, protocol};
  listener.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address == "127.0.0.1") {
    listener.address[12] = 127;
    listener.address[15] = 1;
  }
  listener.uid = 7;
  listener.cgroup_id = 8;
  listener.owner.pid = 9;
  listener.owner.comm = "crio";
  return GuessBinder(listener, {32768, 60999});
}

TEST(GuessBinderTest, TakesTheUserAndTheCgroupOfTheSocket) {
  EXPECT_EQ(Guess("0.0.0.0", Protocol::kTcp), (Binder{9, "crio", 7, 8, kPort}));
}

TEST(GuessBinderTest, ErrsOnTheSideOfLeavingConnectsAlone) {
  EXPECT_EQ(Guess("0.0.0.0", Protocol::kTcp).asked_port, kPort);
  EXPECT_EQ(Guess("127.0.0.1", Protocol::kTcp).asked_port, 0);
  EXPECT_EQ(Guess("0.0.0.0", Protocol::kUdp).asked_port, 0);
  EXPECT_EQ(Guess("127.0.0.1", Protocol::kUdp).asked_port, 0);
  // Beyond the range of automatic ports, and at its ends.
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    EXPECT_EQ(Guess("127.0.0.1", protocol, 30080).asked_port, 30080);
    EXPECT_EQ(Guess("127.0.0.1", protocol, 32767).asked_port, 32767);
    EXPECT_EQ(Guess("127.0.0.1", protocol, 32768).asked_port, 0);
    EXPECT_EQ(Guess("127.0.0.1", protocol, 60999).asked_port, 0);
    EXPECT_EQ(Guess("127.0.0.1", protocol, 61000).asked_port, 61000);
  }
}

TEST(GuessBinderTest, KnowsThatAUdpSocketWithoutARecordAskedForNoPort) {
  Listener listener;
  listener.key = {30080, Protocol::kUdp};
  EXPECT_EQ(GuessBinder(listener, {32768, 60999}, /*sees_requests=*/true).asked_port, 0);
  // A TCP socket may have a record that could not be written.
  listener.key.protocol = Protocol::kTcp;
  EXPECT_EQ(GuessBinder(listener, {32768, 60999}, /*sees_requests=*/true).asked_port, 30080);
}

}  // namespace
}  // namespace npg::core::owner_policy_test
