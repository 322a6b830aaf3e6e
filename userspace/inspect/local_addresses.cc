// SPDX-License-Identifier: Apache-2.0
#include "inspect/local_addresses.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/statusor.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/netns_cookie.h"
#include "dataplane/bpf/pin_paths.h"
#include "node/node_addresses.h"

namespace npg::inspect {
namespace {

std::optional<core::AddressSet> GuardedAddresses(const std::string& bpffs) {
  const auto state = dataplane::GuardState::Open(dataplane::PinPaths(bpffs));
  if (!state.ok() || state->config().scope != abi::Scope::kLocal) return std::nullopt;
  const auto cookie = dataplane::AskNetnsCookie();
  if (cookie.ok() && *cookie != state->config().netns_cookie) return std::nullopt;
  const auto addresses = state->LocalAddresses();
  if (!addresses.ok()) return std::nullopt;
  return node::ToSet(*addresses);
}

}  // namespace

absl::StatusOr<LocalAddresses> ReadLocalAddresses(const std::string& bpffs,
                                                  const core::AddressChoice& choice) {
  const auto addresses = node::ListNodeAddresses();
  if (!addresses.ok()) return addresses.status();
  if (!choice.given) {
    if (std::optional<core::AddressSet> own = GuardedAddresses(bpffs)) {
      std::vector<core::LeftOutAddress> left_out = core::LeftOutOf(*addresses, *own);
      return LocalAddresses{*std::move(own), std::move(left_out)};
    }
  }
  core::JudgedAddresses judged = core::JudgeAddresses(*addresses, choice);
  return LocalAddresses{node::ToSet(judged.own), std::move(judged.left_out)};
}

}  // namespace npg::inspect
