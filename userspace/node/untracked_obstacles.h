// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_UNTRACKED_OBSTACLES_H_
#define NODEPORT_GUARD_NODE_UNTRACKED_OBSTACLES_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace npg::node {

// Rules of the node that treat loopback packets worse for being untracked.
struct UntrackedObstacle {
  enum class Kind {
    // Sets a conntrack zone. That gives a packet a conntrack template, with which conntrack
    // tracks it although `notrack` came before (nft_ct_set_zone_eval() and nf_conntrack_in()).
    kTracks,
    // Drops it: only tracked packets (established, related, new) are accepted, or untracked ones
    // are dropped by a rule.
    kDrops,
  };
  Kind kind = Kind::kTracks;
  std::string where;  // "nft table inet vrf, chain out"
  std::string rule;   // what it does there, a clause
  std::string fix;    // what to add to it
  // A packet of a connect over lo meets it for certain, whatever its port, mark and protocol; and
  // nothing that was not read (the elements of sets) decides it.
  bool certain = true;
  // Whose packets: NFPROTO_IPV4, NFPROTO_IPV6, or NFPROTO_INET for both; 0: not known.
  uint8_t family = 0;
};

// Looks for them in the nf_tables rules of this network namespace, those of iptables-nft
// included, but not in the table `own_table` of the family inet, and not in iptables-legacy.
// Follows jumps from the base chains, except those through maps. Conservative for kDrops: a rule
// that accepts some loopback packets (by port) does not count as accepting them.
// PERMISSION_DENIED without CAP_NET_ADMIN; empty without nf_tables. Reads 500 chains at most,
// for about a second: then UNAVAILABLE, if it has found nothing by then.
// Those that are certain come first.
absl::StatusOr<std::vector<UntrackedObstacle>> ReadUntrackedObstacles(const std::string& own_table);

// What to look for.
struct ObstacleQuery {
  bool tracks = true;  // Kind::kTracks
  bool drops = true;   // Kind::kDrops
  // When it becomes true, the search ends soon, with UNAVAILABLE. Outlives the search; may be null.
  const std::atomic<bool>* stop = nullptr;
};

// The same, but reads the rules again only if the rule set has changed since. Not thread-safe.
class ObstacleCache {
 public:
  absl::StatusOr<std::vector<UntrackedObstacle>> Read(const std::string& own_table,
                                                      const ObstacleQuery& query);

 private:
  struct Found {
    uint32_t generation = 0;
    bool tracks = false;
    bool drops = false;
    std::vector<UntrackedObstacle> obstacles;
  };
  std::optional<Found> last_;
};

// Those of `obstacles` that packets of IPv4 (`v4`) or IPv6 (`v6`) meet.
std::vector<UntrackedObstacle> OfFamilies(std::vector<UntrackedObstacle> obstacles, bool v4,
                                          bool v6);

// Those that were found last. One thread finds them, and others read them.
class LastObstacles {
 public:
  void Set(std::vector<UntrackedObstacle> obstacles);
  std::vector<UntrackedObstacle> Get() const;

 private:
  mutable std::mutex mutex_;
  std::vector<UntrackedObstacle> obstacles_;
};

// "nft table inet vrf, chain out sets a conntrack zone (handle 3)".
std::string ToString(const UntrackedObstacle& obstacle);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_UNTRACKED_OBSTACLES_H_
