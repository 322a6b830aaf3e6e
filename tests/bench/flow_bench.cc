// SPDX-License-Identifier: Apache-2.0
#include "bench/flow_bench.h"

#include <linux/netlink.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "bench/figure.h"
#include "core/mark.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_table.h"
#include "testing/connection_burst.h"
#include "testing/net_namespace.h"

namespace npg::bench {
namespace {

// To list a large set costs much CPU. The numbers rise only while the first elements have
// not expired.
constexpr absl::Duration kBetweenCounts = absl::Seconds(10);
constexpr absl::Duration kWatchPause = absl::Milliseconds(10);

struct Peaks {
  size_t tcp = 0, half = 0;
};

absl::StatusOr<size_t> Count(base::NetlinkSocket& socket, const char* set) {
  const auto elements = dataplane::ReadNftElements(socket, set);
  if (!elements.ok()) return elements.status();
  // The kernel lists some of them again while the set grows or shrinks.
  absl::flat_hash_set<absl::string_view> keys;
  for (const dataplane::NftElement& element : *elements) keys.insert(element.key);
  return keys.size();
}

// Counts the elements now and then until `done`, and once more.
absl::Status Watch(const std::atomic<bool>& done, Peaks& peaks) {
  auto socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  for (bool last = false; !last;) {
    const absl::Time next = absl::Now() + kBetweenCounts;
    while (!done && absl::Now() < next) absl::SleepFor(kWatchPause);
    last = done;
    const auto tcp = Count(*socket, "tcp4");
    if (!tcp.ok()) return tcp.status();
    const auto half = Count(*socket, "half4");
    if (!half.ok()) return half.status();
    peaks = {std::max(peaks.tcp, *tcp), std::max(peaks.half, *half)};
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Figure>> FlowFigures(absl::Duration time,
                                                absl::FunctionRef<bool()> stop) {
  const auto netns = testing::NetNamespace::Create();
  if (!netns.ok()) return netns.status();
  NPG_RETURN_IF_ERROR(netns->Enter());
  const core::Mark mark;
  const auto table = dataplane::NftTable::Install(mark);
  if (!table.ok()) return table.status();
  testing::ConnectionBurst burst;
  burst.threads = {{31601, 34601}, {31602, 34602}, {31603, 34603}, {31604, 34604}};
  burst.mark = mark.value;
  burst.each = std::numeric_limits<uint32_t>::max();
  NPG_RETURN_IF_ERROR(testing::PrepareBurst(burst));

  const absl::Time start = absl::Now();
  burst.stop = [&] { return stop() || absl::Now() - start >= time; };
  std::atomic<bool> done = false;
  Peaks peaks;
  absl::Status watched;
  std::thread watch([&] { watched = Watch(done, peaks); });
  const auto result = testing::RunBurst(burst);
  const absl::Duration took = absl::Now() - start;
  done = true;
  watch.join();
  if (!result.ok()) return result.status();
  if (!watched.ok()) return watched;
  if (stop()) return absl::CancelledError("interrupted");
  if (!result->failure.empty()) std::cerr << "npg_bench: " << result->failure << "\n";
  const std::string group = "exempt TCP connections to 4 ports, 1 byte each way";
  const std::string peak = absl::StrCat("elements of ", dataplane::kTcpSetSize, " in ");
  const auto number = [](size_t count) { return static_cast<double>(count); };
  return std::vector<Figure>{
      {group, "connections", "1/s", number(result->connections) / absl::ToDoubleSeconds(took)},
      {group, "connections", "", number(result->connections)},
      {group, "different tuples", "", number(result->tuples)},
      {group, "failed", "", number(result->failed), 0.0},
      {group, "hijacked", "", number(result->hijacked), 0.0},
      {group, absl::StrCat(peak, "tcp4, peak"), "", number(peaks.tcp)},
      {group, absl::StrCat(peak, "half4, peak"), "", number(peaks.half)},
  };
}

}  // namespace npg::bench
