// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_ABI_GUARD_ABI_TEXT_H_
#define NODEPORT_GUARD_ABI_GUARD_ABI_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "guard_abi.h"

// The C++ side of bpf/guard_abi.h: equality of its structs and, as text, the
// names of its enumerators. Names are stable (metrics, JSON, scripts use them);
// a meaning is a clause for people, without a full stop. A value that this
// build does not know has the name "unknown".

namespace npg::abi {

// "exempted", "no_listener", ...: the label of metrics and the key in JSON.
absl::string_view CounterName(npg_counter counter);
absl::string_view CounterMeaning(npg_counter counter);

// "kubernetes", "netfilter", "file"; `source` is one npg_source.
absl::string_view SourceName(uint32_t source);
absl::string_view SourceMeaning(uint32_t source);
// npg_source bits, lowest first, as "kubernetes,file"; "" for none.
std::string SourcesText(uint32_t sources);

// "connect", "tls", ...: the label of metrics and the key in JSON.
absl::string_view SourceErrorName(npg_source_error error);
absl::string_view SourceErrorMeaning(npg_source_error error);

// "guarded", "ignored": an npg_owner_verdict.
absl::string_view OwnerVerdictName(uint32_t verdict);
absl::string_view OwnerVerdictMeaning(uint32_t verdict);

// "enforce", "observe": an npg_mode.
absl::string_view ModeName(uint32_t mode);
absl::string_view ModeMeaning(uint32_t mode);

// "loopback", "local": an npg_scope.
absl::string_view ScopeName(uint32_t scope);
absl::string_view ScopeMeaning(uint32_t scope);

// A NUL-padded field (comm, service, version) up to its first NUL; a field
// that is full has none.
template <size_t N>
absl::string_view FieldText(const char (&field)[N]) {  // NOLINT(modernize-avoid-c-arrays)
  return {field, strnlen(field, N)};
}

}  // namespace npg::abi

// The structs are C's and live in no namespace; so do their operators, or no
// lookup would find them. Comparing bytes is right where no bit is padding,
// which is also what the kernel's hash maps rely on.
template <typename T>
requires(std::is_same_v<T, npg_port_key> || std::is_same_v<T, npg_nodeport> ||
         std::is_same_v<T, npg_listener_key> || std::is_same_v<T, npg_listener> ||
         std::is_same_v<T, npg_policy_key> || std::is_same_v<T, npg_policy> ||
         std::is_same_v<T, npg_port_stats> || std::is_same_v<T, npg_event> ||
         std::is_same_v<T, npg_source_key> || std::is_same_v<T, npg_source_state> ||
         std::is_same_v<T, npg_address> || std::is_same_v<T, npg_local_address> ||
         std::is_same_v<T, npg_config>) bool
operator==(const T& a, const T& b) {
  static_assert(std::has_unique_object_representations_v<T>);
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

#endif  // NODEPORT_GUARD_ABI_GUARD_ABI_TEXT_H_
