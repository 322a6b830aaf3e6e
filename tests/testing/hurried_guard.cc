// SPDX-License-Identifier: Apache-2.0
//
// nodeport-guard with short intervals, for tests that would have to wait for the real ones.
#include <variant>

#include "absl/time/time.h"
#include "cli/args/options.h"
#include "cli/program.h"

int main(int argc, char** argv) {
  return npg::cli::RunProgram(argc, argv, [](npg::cli::Options& options) {
    if (auto* run = std::get_if<npg::cli::RunOptions>(&options)) {
      run->intervals = {.self_probe = absl::Milliseconds(500),
                        .maintenance = absl::Seconds(1),
                        .exemption_totals = absl::Seconds(1),
                        .kube_events = absl::Seconds(1),
                        .node_advice = absl::Seconds(1),
                        .accept_queues = absl::Milliseconds(500),
                        .rules = absl::Seconds(1),
                        .retry = absl::Milliseconds(500),
                        // Enough for a reading on a busy machine.
                        .first_reading = absl::Seconds(5),
                        .keepalive_idle = absl::Seconds(1),
                        .keepalive_interval = absl::Seconds(1)};
    }
  });
}
