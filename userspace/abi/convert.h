// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_ABI_CONVERT_H_
#define NODEPORT_GUARD_ABI_CONVERT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

#include "abi/entries.h"
#include "absl/strings/string_view.h"
#include "core/bind_facts.h"
#include "core/listener.h"
#include "core/port.h"
#include "guard_abi.h"

// Converts between the structs of guard_abi.h and the types of entries.h. For dataplane/bpf,
// which reads and writes the maps, and for tests; other rooms use entries.h only.

namespace npg::abi {

// A NUL-padded field (comm, service, version) up to its first NUL; a field
// that is full has none.
template <size_t N>
absl::string_view FieldText(const char (&field)[N]) {  // NOLINT(modernize-avoid-c-arrays)
  return {field, strnlen(field, N)};
}

// Fills a field: NUL padded, and truncated so that a NUL always follows.
void SetField(std::span<char> field, absl::string_view text);

core::PortKey FromC(const npg_port_key& key);
NodePort FromC(const npg_nodeport& value);
ListenerKey FromC(const npg_listener_key& key);
core::Binder FromC(const npg_socket_owner& value);
std::string FromC(const npg_policy_key& key);
OwnerVerdict FromC(const npg_policy& value);
PortStats FromC(const npg_port_stats& value);
Event FromC(const npg_event& event);
Source FromC(const npg_source_key& key);
SourceState FromC(const npg_source_state& value);
Config FromC(const npg_config& value);
core::LocalAddress FromC(const npg_address& key, const npg_local_address& value);
// The families.
uint32_t FromC(const npg_refusable& value);
core::PortHolder FromC(const npg_holder_key& key);
Protection FromC(const npg_protection& value);
BindStats FromC(const npg_bind_stats& value);
BindEvent FromC(const npg_bind_event& event);

npg_port_key ToC(const core::PortKey& key);
npg_listener_key ToC(const ListenerKey& key);
npg_socket_owner ToC(const core::Binder& value);
npg_policy_key PolicyKeyOf(absl::string_view comm);
npg_source_key ToC(Source source);
// Times in whole seconds, before the epoch is never; truncates texts.
npg_source_state ToC(const SourceState& state);
npg_config ToC(const Config& config);
npg_address AddressKeyOf(const Address& address);
npg_holder_key ToC(const core::PortHolder& holder);
npg_protection ToC(const Protection& protection);

}  // namespace npg::abi

// The C structs are in the global namespace, and so are their operators, for argument-
// dependent lookup. Comparing bytes is correct without padding, as the kernel's hash maps
// require.
template <typename T>
requires(std::is_same_v<T, npg_port_key> || std::is_same_v<T, npg_nodeport> ||
         std::is_same_v<T, npg_listener_key> || std::is_same_v<T, npg_socket_owner> ||
         std::is_same_v<T, npg_uid_key> || std::is_same_v<T, npg_cgroup_key> ||
         std::is_same_v<T, npg_member> || std::is_same_v<T, npg_policy_key> ||
         std::is_same_v<T, npg_policy> || std::is_same_v<T, npg_port_stats> ||
         std::is_same_v<T, npg_event> || std::is_same_v<T, npg_source_key> ||
         std::is_same_v<T, npg_source_state> || std::is_same_v<T, npg_address> ||
         std::is_same_v<T, npg_local_address> || std::is_same_v<T, npg_config> ||
         std::is_same_v<T, npg_refusable> || std::is_same_v<T, npg_holder_key> ||
         std::is_same_v<T, npg_reserved_key> || std::is_same_v<T, npg_reserved> ||
         std::is_same_v<T, npg_protection> || std::is_same_v<T, npg_advice> ||
         std::is_same_v<T, npg_bind_stats> || std::is_same_v<T, npg_bind_event>) bool
operator==(const T& a, const T& b) {
  static_assert(std::has_unique_object_representations_v<T>);
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

#endif  // NODEPORT_GUARD_ABI_CONVERT_H_
