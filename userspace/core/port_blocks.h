// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_PORT_BLOCKS_H_
#define NODEPORT_GUARD_CORE_PORT_BLOCKS_H_

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace npg::core {

// A set of ports, kept as the blocks of 4096 ports that hold them: a port of a block is in the set
// whether it was added or not. Rules of a packet filter can test for a block with one mask.
class PortBlocks {
 public:
  static constexpr uint32_t kPortsPerBlock = 4096;

  // The ports whose bits in `mask` are those of `value`. Host order.
  struct Prefix {
    uint16_t value = 0;
    uint16_t mask = 0;

    bool operator==(const Prefix&) const = default;
  };
  // A packet meets a rule for each of them.
  static constexpr size_t kMaxPrefixes = 4;

  // The one block of the API server's default for --service-node-port-range, 30000-32767
  // (kubernetes pkg/kubeapiserver/options, DefaultServiceNodePortRange). The default for automatic
  // ports, 32768-60999, is in other blocks.
  static PortBlocks Default() { return Of(30000); }
  static PortBlocks All() {
    PortBlocks all;
    all.used_.set();
    return all;
  }
  static PortBlocks Of(uint16_t port) {
    PortBlocks blocks;
    blocks.Add(port);
    return blocks;
  }

  void Add(uint16_t port) { used_.set(port / kPortsPerBlock); }
  void Add(PortBlocks other) { used_ |= other.used_; }
  bool Contains(uint16_t port) const { return used_.test(port / kPortsPerBlock); }
  bool Contains(PortBlocks other) const { return (other.used_ & ~used_).none(); }
  bool operator==(const PortBlocks&) const = default;

  // The fewest prefixes that together are exactly the blocks, in order of their ports. Empty for
  // no block. If there would be more than kMaxPrefixes: the one that holds every port.
  std::vector<Prefix> Prefixes() const;
  bool NeedAllPorts() const { return Prefixes() == std::vector<Prefix>{{}}; }

 private:
  static constexpr size_t kBlocks = 65536 / kPortsPerBlock;

  void AppendPrefixes(size_t first, size_t count, std::vector<Prefix>& prefixes) const;

  std::bitset<kBlocks> used_;
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_PORT_BLOCKS_H_
