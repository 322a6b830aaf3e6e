// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/api_status.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::kubernetes::api_status_test {
namespace {

TEST(ApiStatusTest, DecodesAStatus) {
  const ApiStatus status = DecodeStatus(
      R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":)"
      R"("services is forbidden","reason":"Forbidden","details":{"kind":"services",)"
      R"("retryAfterSeconds":3},"code":403})");
  EXPECT_EQ(status.code, 403);
  EXPECT_EQ(status.reason, "Forbidden");
  EXPECT_EQ(status.message, "services is forbidden");
  EXPECT_EQ(status.retry_after_seconds, 3);
}

TEST(ApiStatusTest, IsEmptyForAnythingElse) {
  const std::string huge = absl::StrCat(R"({"kind":"Status","code":500,"message":")",
                                        std::string(size_t{2} << 20, 'x'), "\"}");
  for (const absl::string_view body :
       {absl::string_view(""), absl::string_view("<html>502</html>"), absl::string_view("{}"),
        absl::string_view("null"), absl::string_view(R"({"kind":"Pod","code":500})"),
        absl::string_view(R"({"code":500,"message":"x"})"), absl::string_view(R"([{"code":500}])"),
        absl::string_view(R"({"kind":"Status","code":500)"),
        absl::string_view("{\"kind\":\"Status\",\"message\":\"\xff\"}"), absl::string_view(huge)}) {
    const ApiStatus status = DecodeStatus(body);
    EXPECT_EQ(status.code, 0) << body.substr(0, 80);
    EXPECT_EQ(status.reason, "") << body.substr(0, 80);
    EXPECT_EQ(status.message, "") << body.substr(0, 80);
    EXPECT_EQ(status.retry_after_seconds, std::nullopt) << body.substr(0, 80);
  }
}

TEST(ApiStatusTest, IgnoresInvalidFields) {
  for (const char* number : {"-1", "1.5", "\"3\"", "null", "{}", "4294967296", "true"}) {
    const ApiStatus status =
        DecodeStatus(absl::StrCat(R"({"kind":"Status","reason":5,"message":[],"code":)", number,
                                  R"(,"details":{"retryAfterSeconds":)", number, "}}"));
    EXPECT_EQ(status.code, 0) << number;
    EXPECT_EQ(status.retry_after_seconds, std::nullopt) << number;
    EXPECT_EQ(status.reason, "");
    EXPECT_EQ(status.message, "");
  }
  EXPECT_EQ(
      DecodeStatus(R"({"kind":"Status","details":{"retryAfterSeconds":0}})").retry_after_seconds,
      0);
  EXPECT_EQ(DecodeStatus(R"({"kind":"Status","details":[]})").retry_after_seconds, std::nullopt);
}

TEST(ApiStatusTest, TellsATooLargeVersionFromOtherTimeouts) {
  const auto decode = [](absl::string_view details) {
    return DecodeStatus(absl::StrCat(
        R"({"kind":"Status","reason":"Timeout","message":"Too large resource version: 10",)"
        R"("details":)",
        details, R"(,"code":504})"));
  };
  EXPECT_TRUE(decode(R"({"causes":[{"reason":"ResourceVersionTooLarge"}]})").version_too_large);
  EXPECT_TRUE(
      decode(R"({"causes":[7,{},{"reason":"ResourceVersionTooLarge"}]})").version_too_large);
  for (const char* details : {"null", "{}", R"({"causes":{}})", R"({"causes":[]})",
                              R"({"causes":["ResourceVersionTooLarge",[]]})",
                              R"({"causes":[{"reason":"UnexpectedServerResponse"}]})"}) {
    EXPECT_FALSE(decode(details).version_too_large) << details;
  }
}

TEST(ApiStatusTest, BoundsAndSanitizesText) {
  const ApiStatus status = DecodeStatus(
      absl::StrCat(R"({"kind":"Status","reason":"\u001b[31m\n)", std::string(1000, 'r'),
                   R"(","message":"a\nb\u0000\u00e4)", std::string(1000, 'm'), "\"}"));
  for (const std::string& text : {status.reason, status.message}) {
    EXPECT_LE(text.size(), 300U);
    for (const char c : text) EXPECT_TRUE(c >= ' ' && c <= '~') << text;
  }
  EXPECT_EQ(status.message.substr(0, 7), "a?b???m");
}

}  // namespace
}  // namespace npg::kubernetes::api_status_test
