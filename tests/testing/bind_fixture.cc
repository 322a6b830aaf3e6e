// SPDX-License-Identifier: Apache-2.0
#include "testing/bind_fixture.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "dataplane/bpf/skeleton.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing {

void BindProtectionTest::SetUp() {
  GuardTest::SetUp();
  if (HasFatalFailure()) return;
  node().HurryGuards();
  // No exception: another test in this process may have changed the name.
  prctl(PR_SET_NAME, "bind-test");
}

std::string BindProtectionTest::RefusalErrno() {
  return dataplane::HasSetRetval() ? "EADDRINUSE" : "EPERM";
}

absl::Status BindProtectionTest::WritePorts(const std::vector<uint16_t>& tcp,
                                            const std::vector<uint16_t>& udp) {
  std::vector<NodePort> nodeports;
  for (const uint16_t port : tcp) nodeports.push_back({port, Transport::kTcp});
  for (const uint16_t port : udp) nodeports.push_back({port, Transport::kUdp});
  return WriteNodePortsFile(node().File("nodeports.json"), nodeports);
}

absl::Status BindProtectionTest::WriteText(absl::string_view text) {
  const std::string path = node().File("nodeports.json");
  const std::string fresh = path + ".new";
  std::ofstream file(fresh);
  file << text << std::flush;
  if (!file || std::rename(fresh.c_str(), path.c_str()) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("write ", path));
  }
  return absl::OkStatus();
}

absl::Status BindProtectionTest::StartProtection(const std::string& mode,
                                                 std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--bind-protection", mode});
  return StartGuard(arguments);
}

bool BindProtectionTest::IsRefusable(uint16_t port, Transport transport) const {
  const auto entry = maps().Refusable(port, transport);
  return entry.ok() && entry->has_value();
}

bool BindProtectionTest::BecomesRefusable(uint16_t port, bool refusable) const {
  return WaitUntil(kPatience, [&] {
    const auto entry = maps().Refusable(port, Transport::kTcp);
    return entry.ok() && entry->has_value() == refusable;
  });
}

bool BindProtectionTest::IsFirstHolder(uint16_t port, uint32_t uid, Transport transport) const {
  const auto entry = maps().FirstHolder(port, transport, uid);
  return entry.ok() && entry->has_value();
}

}  // namespace npg::testing
