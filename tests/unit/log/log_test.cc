// SPDX-License-Identifier: Apache-2.0
// Each event is one line in both formats, whatever names it contains.
#include "log/log.h"

#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdarg>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "log/fields.h"

namespace npg::log::log_test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::SizeIs;

// The lines that `log` writes.
template <typename Log>
std::vector<std::string> Lines(const std::string& level, LogFormat format, const Log& log) {
  EXPECT_TRUE(SetUpLog(level, format).ok());
  ::testing::internal::CaptureStderr();
  log();
  return absl::StrSplit(::testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty());
}

TEST(LogTest, TextEndsWithTheFields) {
  const auto lines = Lines("info", LogFormat::kText, [] {
    Log(spdlog::level::info, "exempted a connect",
        Fields().Add("port", 33589).Add("service", "shop/web").Add("observed", false));
    spdlog::warn("without fields");
  });
  ASSERT_THAT(lines, SizeIs(2));
  EXPECT_THAT(lines[0], MatchesRegex("[0-9-]+T[0-9:.]+Z info  exempted a connect port=33589 "
                                     "service=shop/web observed=false"));
  EXPECT_THAT(lines[1], MatchesRegex("[0-9-]+T[0-9:.]+Z warning without fields"));
}

TEST(LogTest, JsonHasFieldsAsMembers) {
  const auto lines = Lines("info", LogFormat::kJson, [] {
    Log(spdlog::level::info, "exempted a connect",
        Fields().Add("port", 33589).Add("service", "shop/web").Add("observed", false));
    spdlog::warn("without fields");
  });
  ASSERT_THAT(lines, SizeIs(2));
  const auto json = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(json["message"], "exempted a connect");
  EXPECT_EQ(json["level"], "info");
  EXPECT_EQ(json["port"], 33589);
  EXPECT_EQ(json["service"], "shop/web");
  EXPECT_EQ(json["observed"], false);
  absl::Time time;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, json["time"].get<std::string>(), &time, nullptr));
  EXPECT_EQ(nlohmann::json::parse(lines[1]).size(), 3U);
}

// A process may have any name, also one that looks like a log line.
class LogNameTest : public ::testing::TestWithParam<std::string> {};

TEST_P(LogNameTest, StaysOneLineOfText) {
  const auto lines = Lines("info", LogFormat::kText, [] {
    Log(spdlog::level::info, "of " + GetParam(), Fields().Add("comm", GetParam()).Add("port", 1));
  });
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_THAT(lines[0], HasSubstr("info  of "));
  EXPECT_EQ(lines[0].substr(lines[0].size() - 7), " port=1");
  EXPECT_THAT(lines[0], Not(HasSubstr("\x1b")));
  EXPECT_EQ(base::Printable(lines[0]), lines[0]);
  EXPECT_THAT(lines[0], Not(HasSubstr("comm=x port=2"))) << "in quotes";
}

TEST_P(LogNameTest, StaysOneJsonObject) {
  const auto lines = Lines("info", LogFormat::kJson, [] {
    Log(spdlog::level::info, "of " + GetParam(), Fields().Add("comm", GetParam()).Add("port", 1));
    spdlog::info("of {}", GetParam());
  });
  ASSERT_THAT(lines, SizeIs(2));
  for (const std::string& line : lines) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(json.is_object()) << line;
    EXPECT_EQ(base::Printable(line), line);
    EXPECT_EQ(json["message"].get<std::string>().rfind("of ", 0), 0U);
    EXPECT_EQ(json["level"], "info");
  }
  EXPECT_EQ(nlohmann::json::parse(lines[0])["port"], 1);
  EXPECT_FALSE(nlohmann::json::parse(lines[1]).contains("port"));
}

INSTANTIATE_TEST_SUITE_P(Names, LogNameTest,
                         ::testing::Values("x port=2", "a\nb", "\"quoted\"", "a\r\n\tb", "\\",
                                           "\x1b[31mred",
                                           "\xc2\x9b"
                                           "31m",
                                           "\xff\xfe", "caf\xc3\xa9", "\u202eerror", "\u2067",
                                           "\xe2\x80", "\"}\n{\"level\":\"error\"}", "{}", "%s%n",
                                           ""));

TEST(LogTest, NumbersKeepTheirSignAndSize) {
  const Fields fields = Fields().Add("a", -1).Add("b", UINT64_MAX).Add("c", uint8_t{7});
  EXPECT_EQ(fields.text(), " a=-1 b=18446744073709551615 c=7");
  EXPECT_EQ(fields.json(), R"(,"a":-1,"b":18446744073709551615,"c":7)");
}

// Logs as libbpf does: through the function that SetUpLog() installed.
void LogAsLibbpf(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const libbpf_print_fn_t print = libbpf_set_print(nullptr);
  libbpf_set_print(print);
  print(LIBBPF_WARN, format, arguments);
  va_end(arguments);
}

TEST(LogTest, LogsMessagesOfLibbpfAtDebugOnly) {
  EXPECT_THAT(Lines("info", LogFormat::kText, [] { LogAsLibbpf("libbpf: %s\n", "boring"); }),
              IsEmpty());
  const auto lines =
      Lines("debug", LogFormat::kText, [] { LogAsLibbpf("libbpf: %s\nsecond\n", "of note"); });
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_THAT(lines[0], HasSubstr(R"( debug libbpf: of note\nsecond)"));
}

TEST(LogTest, RefusesAnUnknownLevel) { EXPECT_FALSE(SetUpLog("loud", LogFormat::kText).ok()); }

}  // namespace
}  // namespace npg::log::log_test
