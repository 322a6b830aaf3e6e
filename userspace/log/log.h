// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LOG_LOG_H_
#define NODEPORT_GUARD_LOG_LOG_H_

#include <spdlog/common.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "log/fields.h"

namespace npg::log {

enum class LogFormat { kText, kJson };

// Sends the process's log (spdlog's default logger) to standard error, one line for one
// event: text, or a JSON object with "time" (RFC 3339, UTC), "level", "message", and the
// fields of Log(). libbpf's messages are logged at debug.
// `level` is one of trace, debug, info, warn, error, off; INVALID_ARGUMENT otherwise.
absl::Status SetUpLog(const std::string& level, LogFormat format);

// Logs `message` with its fields: in JSON as members, in text as name=value at the end. A
// logger that SetUpLog() has not made omits the fields.
void Log(spdlog::level::level_enum level, absl::string_view message, const Fields& fields);

}  // namespace npg::log

#endif  // NODEPORT_GUARD_LOG_LOG_H_
