// SPDX-License-Identifier: Apache-2.0
#include "log/log.h"

#include <bpf/libbpf.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "log/fields.h"

namespace npg::log {
namespace {

// spdlog records have no fields. This log does not print source locations, so Log() passes
// the fields, as text and as JSON, in the record's pointers to file and function, with this
// as the line number.
constexpr int kHasFields = -1;

const char* FieldsText(const spdlog::details::log_msg& message) {
  return message.source.line == kHasFields ? message.source.filename : "";
}

const char* FieldsJson(const spdlog::details::log_msg& message) {
  return message.source.line == kHasFields ? message.source.funcname : "";
}

absl::string_view Payload(const spdlog::details::log_msg& message) {
  return {message.payload.data(), message.payload.size()};
}

void Append(absl::string_view text, spdlog::memory_buf_t& target) {
  target.append(text.data(), text.data() + text.size());
}

// The message as a JSON string, quotes included, and the fields as further members.
class JsonMessage : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& target) override {
    // Invalid UTF-8, as in the name of a process, is replaced.
    Append(JsonString(Payload(message)), target);
    Append(FieldsJson(message), target);
  }

  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonMessage>();
  }
};

// The message on one line, then the fields.
class TextMessage : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm& /*time*/,
              spdlog::memory_buf_t& target) override {
    Append(OneLineText(Payload(message)), target);
    Append(FieldsText(message), target);
  }

  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<TextMessage>();
  }
};

int LogLibbpf(libbpf_print_level /*level*/, const char* format, va_list arguments) {
  if (!spdlog::should_log(spdlog::level::debug)) return 0;
  std::array<char, 4096> text{};
  const int length = std::vsnprintf(text.data(), text.size(), format, arguments);
  std::string line(text.data());
  while (!line.empty() && line.back() == '\n') line.pop_back();
  spdlog::debug("{}", line);
  return length;
}

}  // namespace

absl::Status SetUpLog(const std::string& level, LogFormat format) {
  const spdlog::level::level_enum parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return absl::InvalidArgumentError("log level \"" + level +
                                      "\" is not one of trace, debug, info, warn, error, off");
  }
  auto logger = std::make_shared<spdlog::logger>("nodeport-guard",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  if (format == LogFormat::kJson) {
    formatter->add_flag<JsonMessage>('*');
    formatter->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":%*})");
  } else {
    formatter->add_flag<TextMessage>('*');
    formatter->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %-5l %*");
  }
  logger->set_formatter(std::move(formatter));
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
  libbpf_set_print(LogLibbpf);
  return absl::OkStatus();
}

void Log(spdlog::level::level_enum level, absl::string_view message, const Fields& fields) {
  // The logger is synchronous: it does not keep the pointers.
  spdlog::default_logger_raw()->log(
      spdlog::source_loc{fields.text().c_str(), kHasFields, fields.json().c_str()}, level,
      spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace npg::log
