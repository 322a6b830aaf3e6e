// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_SERVICE_NAME_H_
#define NODEPORT_GUARD_CORE_SERVICE_NAME_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::core {

// True for "namespace/name", each of 1 to 63 letters, digits, '-', '_', '.'.
// Every Service in the map `nodeports` has this form, so that it fits there and is safe in
// terminals and logs.
bool IsServiceName(absl::string_view text);

// The two sides of the first slash; nullopt when there is none.
struct ServiceNameParts {
  absl::string_view ns;
  absl::string_view name;
};
std::optional<ServiceNameParts> SplitServiceName(absl::string_view text);

// The Service at the beginning of a comment of kube-proxy, without its port name:
// "default/web:http has no endpoints" → "default/web". Empty when there is none.
std::string ServiceOfComment(absl::string_view comment);

// `text` as one short line for a message: at most 64 bytes, with everything but plain
// ASCII as escape sequences.
std::string Printable(absl::string_view text);

// `message`, which may quote input, with everything but plain ASCII as '?', so that it is
// one line and safe in terminals.
std::string OneLine(std::string message);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_SERVICE_NAME_H_
