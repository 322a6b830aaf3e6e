// SPDX-License-Identifier: Apache-2.0
#include "rules/connect.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <tuple>
#include <vector>

#include "core/listener.h"
#include "core/port.h"

namespace npg::rules {
namespace {

constexpr std::array<uint8_t, 16> kLoopback4 = {0, 0, 0,    0,    0,   0, 0, 0,
                                                0, 0, 0xff, 0xff, 127, 0, 0, 1};
constexpr std::array<uint8_t, 16> kLoopback6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

}  // namespace

std::vector<Connect> ConnectsToLoopbackAnd(const core::AddressSet& own) {
  core::AddressSet addresses = own;
  addresses.insert(kLoopback4);
  addresses.insert(kLoopback6);
  std::vector<Connect> connects;
  connects.reserve(addresses.size() * 2);
  for (const std::array<uint8_t, 16>& address : addresses) {
    connects.push_back({core::Protocol::kTcp, address});
    connects.push_back({core::Protocol::kUdp, address});
  }
  std::sort(connects.begin(), connects.end(), [](const Connect& a, const Connect& b) {
    return std::tie(a.address, a.protocol) < std::tie(b.address, b.protocol);
  });
  return connects;
}

}  // namespace npg::rules
