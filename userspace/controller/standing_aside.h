// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_STANDING_ASIDE_H_
#define NODEPORT_GUARD_CONTROLLER_STANDING_ASIDE_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "controller/obstacle_search.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/repeated_fault.h"
#include "node/untracked_obstacles.h"

namespace npg::controller {

// For which traffic the guard is to stand aside after a self-probe: what was not tested stays as
// it was.
constexpr abi::TrafficBits AsideAfter(abi::TrafficBits former, abi::TrafficBits tested,
                                      abi::TrafficBits broken) {
  return (former & ~tested) | broken;
}

// Decides after each self-probe for which traffic the guard stands aside, tells the programs,
// and logs each change once, with the rules that are in the way. While it stands aside, it looks
// for these again, since the administrator may mend one of several.
//
// A guard that nothing was known of exempts what its first probe could not test: it is there, and
// the health says that it is not proven. One that an earlier run left goes on as that run left it.
class StandingAside {
 public:
  // `traffic` is what the programs have now; `adopted` whether an earlier run left it. Writes what
  // it finds in the way to `obstacles`, which may be null. `changed` is called after a change, also
  // of the text. loop and guard outlive this.
  StandingAside(base::EventLoop& loop, dataplane::BpfGuard& guard, abi::TrafficBits traffic,
                bool adopted, std::shared_ptr<node::LastObstacles> obstacles,
                std::function<void()> changed);

  // The result of a self-probe, the traffic that it tested, and that of it which is broken.
  void Note(const absl::Status& probed, abi::TrafficBits tested, abi::TrafficBits broken);

  abi::TrafficBits traffic() const { return traffic_; }
  // "the guard stands aside for TCP over IPv4: ...", or empty.
  const std::string& text() const { return text_; }

 private:
  static void LogResumed(abi::TrafficBits before);
  void Describe();
  void Search();
  void Look();

  base::EventLoop& loop_;
  dataplane::BpfGuard& guard_;
  abi::TrafficBits traffic_;
  bool known_;           // from a probe, or an earlier run
  bool proven_ = false;  // reason_ is of a probe
  const std::shared_ptr<node::LastObstacles> obstacles_;
  const std::function<void()> changed_;
  std::string reason_;      // empty when it does not stand aside
  std::string in_the_way_;  // as the last search that succeeded found it, for this reason
  std::string text_;
  bool logged_ = false;  // reason_ and in_the_way_
  const std::shared_ptr<node::ObstacleCache> rules_ = std::make_shared<node::ObstacleCache>();
  std::optional<ObstacleSearch> search_;
  bool again_ = false;     // once more after search_: what is searched for has changed
  absl::Time searched_;    // when search_ began
  absl::Time search_due_;  // when to search again, if nothing changes
  log::RepeatedFault write_fault_{"write for which traffic the guard stands aside"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_STANDING_ASIDE_H_
