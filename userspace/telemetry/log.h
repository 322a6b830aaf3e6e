// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TELEMETRY_LOG_H_
#define NODEPORT_GUARD_TELEMETRY_LOG_H_

#include <string>

#include "absl/status/status.h"

namespace npg::telemetry {

enum class LogFormat { kText, kJson };

// Sends the process's log (spdlog's default logger) to standard error, one line
// for one event: text for people, or a JSON object with "time" (RFC 3339, UTC),
// "level" and "message". What libbpf has to say goes there too, at debug.
// `level` is one of trace, debug, info, warn, error, off; INVALID_ARGUMENT otherwise.
absl::Status SetUpLog(const std::string& level, LogFormat format);

}  // namespace npg::telemetry

#endif  // NODEPORT_GUARD_TELEMETRY_LOG_H_
