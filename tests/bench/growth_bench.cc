// SPDX-License-Identifier: Apache-2.0
#include "bench/growth_bench.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "bench/comparisons.h"
#include "bench/growth.h"
#include "bench/measure.h"
#include "testing/command.h"
#include "testing/net_namespace.h"
#include "testing/test_cgroup.h"

namespace npg::bench {
namespace {

// What is measured on a thread that stays on one CPU, in its own namespace. The controller is
// measured on all CPUs.
absl::Status MeasureOnOneCpu(absl::Duration time, absl::FunctionRef<bool()> stop,
                             std::vector<Growth>& growths) {
  NPG_RETURN_IF_ERROR(StayOnOneCpu());
  const absl::StatusOr<std::string> added =
      testing::RunCommand({"ip", "address", "add", "dev", "lo", absl::StrCat(kElsewhere4, "/32")});
  if (!added.ok()) return added.status();
  const auto cgroup = testing::TestCgroup::Create();
  if (!cgroup.ok()) return cgroup.status();
  absl::StatusOr<Growth> connects = ConnectGrowth((*cgroup)->path(), time, stop);
  if (!connects.ok()) return base::Annotate(connects.status(), "connects");
  growths.push_back(*std::move(connects));
  absl::StatusOr<Growth> packets = PacketGrowth(time, stop);
  if (!packets.ok()) return base::Annotate(packets.status(), "packets");
  growths.push_back(*std::move(packets));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Growth>> MeasureGrowth(absl::Duration time,
                                                  absl::FunctionRef<bool()> stop) {
  std::vector<Growth> growths;
  const absl::StatusOr<testing::NetNamespace> netns = testing::NetNamespace::Create();
  if (!netns.ok()) return netns.status();
  NPG_RETURN_IF_ERROR(
      netns->Run([&]() -> absl::Status { return MeasureOnOneCpu(time / 2, stop, growths); }));
  absl::StatusOr<std::vector<Growth>> controller = ControllerGrowth(3 * time, stop);
  if (!controller.ok()) return base::Annotate(controller.status(), "controller");
  std::move(controller->begin(), controller->end(), std::back_inserter(growths));
  return growths;
}

}  // namespace npg::bench
