// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_BACKOFF_H_
#define NODEPORT_GUARD_KUBERNETES_BACKOFF_H_

#include <algorithm>

#include "absl/random/bit_gen_ref.h"
#include "absl/random/distributions.h"
#include "absl/time/time.h"

namespace npg::kubernetes {

// Exponential backoff with full jitter: each wait is drawn from zero to a bound that
// doubles. So ten thousand nodes that lose their API server at the same time reconnect
// spread out.
class Backoff {
 public:
  Backoff(absl::Duration first, absl::Duration most, absl::BitGenRef random)
      : first_(first), most_(most), random_(random), bound_(first) {}

  absl::Duration Next() {
    const absl::Duration bound = bound_;
    bound_ = std::min(bound_ * 2, most_);
    return Spread(bound);
  }

  // A draw from zero to `bound`.
  absl::Duration Spread(absl::Duration bound) { return absl::Uniform(random_, 0.0, 1.0) * bound; }

  void Reset() { bound_ = first_; }

 private:
  const absl::Duration first_;
  const absl::Duration most_;
  absl::BitGenRef random_;
  absl::Duration bound_;  // of the next wait
};

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_BACKOFF_H_
