// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_SERVICE_NAME_H_
#define NODEPORT_GUARD_CORE_SERVICE_NAME_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::core {

// True for "namespace/name", each of 1 to 63 letters, digits, '-', '_', '.'.
// Whatever goes into the nodeports map as a Service has this form, so that it
// fits there and no terminal or log is surprised by it.
bool IsServiceName(absl::string_view text);

// The two sides of the first slash; nullopt when there is none.
struct ServiceNameParts {
  absl::string_view ns;
  absl::string_view name;
};
std::optional<ServiceNameParts> SplitServiceName(absl::string_view text);

// The Service that a comment of kube-proxy begins with, without its port name:
// "default/web:http has no endpoints" is of "default/web". Empty when there is
// none.
std::string ServiceOfComment(absl::string_view comment);

// `text` in one short line for a message: at most 64 bytes of it, everything
// but plain ASCII as escape sequences.
std::string Printable(absl::string_view text);

// A message that may quote its input as it was: everything but plain ASCII
// becomes '?', so that it stays one line and no terminal obeys it.
std::string OneLine(std::string message);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_SERVICE_NAME_H_
