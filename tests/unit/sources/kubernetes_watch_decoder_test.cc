// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/watch_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "testing/byte_step.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"
#include "unit/sources/kubernetes_chunks.h"

namespace npg::sources::kubernetes_watch_decoder_test {
namespace {

using testing::ReadTestdata;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Type = WatchEvent::Type;

std::string TypeName(Type type) {
  switch (type) {
    case Type::kAdded:
      return "added";
    case Type::kModified:
      return "modified";
    case Type::kDeleted:
      return "deleted";
    case Type::kBookmark:
      return "bookmark";
    case Type::kError:
      return "error";
    case Type::kUnknown:
      return "unknown";
  }
  return "";
}

// An event as text, for comparison and messages.
std::string Text(const WatchEvent& event) {
  std::string text = TypeName(event.type);
  if (!event.service.service.empty()) absl::StrAppend(&text, " ", event.service.service);
  if (!event.resource_version.empty()) absl::StrAppend(&text, " rv ", event.resource_version);
  for (const core::PortKey& port : event.service.ports) {
    absl::StrAppend(&text, " ", core::ToString(port));
  }
  if (event.service.health_check_port != 0) {
    absl::StrAppend(&text, " health ", event.service.health_check_port);
  }
  if (event.initial_events_end) text += " end";
  if (event.type == Type::kError) {
    absl::StrAppend(&text, " ", event.status.code, " ", event.status.reason, ": ",
                    event.status.message);
  }
  for (const std::string& line : event.service.skipped) absl::StrAppend(&text, " [", line, "]");
  return text;
}

struct Decoded {
  std::vector<std::string> events;
  absl::Status status;  // the result of Feed() or Finish()
};

Decoded DecodeChunks(const Chunks& chunks) {
  Decoded decoded;
  WatchDecoder decoder;
  absl::Status status;
  for (const absl::string_view chunk : chunks) {
    status = decoder.Feed(chunk, [&](WatchEvent&& event) {
      decoded.events.push_back(Text(event));
      return absl::OkStatus();
    });
    if (!status.ok()) break;
  }
  decoded.status = decoder.Finish();
  // Finish() must return an earlier error.
  EXPECT_TRUE(status.ok() || decoded.status == status) << status;
  return decoded;
}

// Decodes `json` cut in many ways, and expects the same result.
Decoded Decode(absl::string_view json) {
  Decoded whole = DecodeChunks({json});
  for (const Chunks& chunks : ManyCuts(json)) {
    const Decoded cut = DecodeChunks(chunks);
    EXPECT_EQ(cut.events, whole.events) << "in " << chunks.size() << " pieces";
    EXPECT_EQ(cut.status.code(), whole.status.code()) << "in " << chunks.size() << " pieces";
  }
  return whole;
}

std::vector<std::string> EventsOf(absl::string_view json) {
  Decoded decoded = Decode(json);
  NPG_EXPECT_OK(decoded.status);
  return decoded.events;
}

std::string Event(absl::string_view type, absl::string_view object) {
  return absl::StrCat(R"({"type":")", type, R"(","object":)", object, "}\n");
}

constexpr absl::string_view kService =
    R"({"kind":"Service","apiVersion":"v1","metadata":{"name":"web","namespace":"a",)"
    R"("resourceVersion":"5"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":30080}]}})";

TEST(WatchDecoderTest, DecodesARecordedWatch) {
  EXPECT_THAT(EventsOf(ReadTestdata("services-watch.jsonl")),
              ElementsAre("bookmark rv 30575 end", "added team-b/api rv 30579 49868/tcp",
                          "added team-b/dns rv 30583 42556/tcp",
                          "modified team-b/dns rv 30584 42556/tcp 42556/udp",
                          "modified team-b/api rv 30586", "added team-b/edge rv 30589 46959/tcp",
                          "modified team-b/edge rv 30591 46959/tcp health 30456",
                          "deleted team-b/dns rv 30592 42556/tcp 42556/udp", "bookmark rv 30592"));
  EXPECT_THAT(EventsOf(ReadTestdata("services-watch-expired.jsonl")),
              ElementsAre("error 410 Expired: too old resource version: 1 (30099)"));
}

TEST(WatchDecoderTest, APrefixIsValidOnlyBetweenEvents) {
  const std::string watch = ReadTestdata("services-watch.jsonl");
  const std::vector<std::string> all = EventsOf(watch);
  for (size_t length = 0; length < watch.size(); length += testing::kByteStep) {
    const Decoded decoded = DecodeChunks({absl::string_view(watch).substr(0, length)});
    const bool between = length == 0 || watch[length - 1] == '\n' || watch[length] == '\n';
    EXPECT_EQ(decoded.status.ok(), between) << length << ": " << decoded.status;
    ASSERT_LE(decoded.events.size(), all.size());
    EXPECT_TRUE(std::equal(decoded.events.begin(), decoded.events.end(), all.begin())) << length;
  }
  EXPECT_THAT(std::string(Decode(R"({"type":"ADDED")").status.message()),
              StartsWith("watch of Services was cut"));
}

TEST(WatchDecoderTest, ACorruptByteIsAnErrorOrAnotherEvent) {
  const std::string watch = ReadTestdata("services-watch.jsonl");
  std::mt19937 random(1);
  for (size_t at = 0; at < watch.size(); at += testing::kByteStep) {
    for (int i = 0; i < 2; ++i) {
      std::string corrupt = watch;
      corrupt[at] = HostileByte(random);
      const Decoded decoded = DecodeChunks({corrupt});
      // As many events, or an error in place of one.
      EXPECT_LE(decoded.events.size(), 9U) << at;
      EXPECT_TRUE(!decoded.status.ok() || decoded.events.size() == 9) << at;
    }
  }
}

TEST(WatchDecoderTest, TheOrderOfMembersIsFree) {
  EXPECT_THAT(
      EventsOf(R"({"object":{"spec":{"healthCheckNodePort":31000,"ports":[{"protocol":"UDP",)"
               R"("nodePort":30053,"port":53}],"type":"LoadBalancer"},"metadata":)"
               R"({"resourceVersion":"9","namespace":"a","name":"dns"},"apiVersion":"v1",)"
               R"("kind":"Service"},"type":"MODIFIED"})"),
      ElementsAre("modified a/dns rv 9 30053/udp health 31000"));
  // Of two equal members the first counts.
  EXPECT_THAT(EventsOf(absl::StrCat(R"({"object":{},"type":"DELETED","type":"ADDED","object":)",
                                    kService, "}")),
              ElementsAre("unknown [Service without metadata.name]"));
}

TEST(WatchDecoderTest, BookmarksNeedAVersion) {
  EXPECT_THAT(
      EventsOf(Event("BOOKMARK", R"({"metadata":{"resourceVersion":"8"}})") +
               Event("BOOKMARK", R"({"metadata":{"annotations":{"k8s.io/initial-events-end":)"
                                 R"("true"},"resourceVersion":"9"},"kind":"Service"})") +
               Event("BOOKMARK", R"({"metadata":{"annotations":{"k8s.io/initial-events-end":)"
                                 R"("false"},"resourceVersion":"10"}})") +
               Event("BOOKMARK", "{}") +
               Event("BOOKMARK", R"({"metadata":{"resourceVersion":3}})") + Event("BOOKMARK", "5") +
               R"({"type":"BOOKMARK"})"),
      ElementsAre("bookmark rv 8", "bookmark rv 9 end", "bookmark rv 10",
                  "unknown [BOOKMARK without metadata.resourceVersion]",
                  "unknown [BOOKMARK without metadata.resourceVersion]",
                  "unknown [BOOKMARK without metadata.resourceVersion]",
                  "unknown [BOOKMARK without an object]"));
}

TEST(WatchDecoderTest, NamesEventsThatItSkips) {
  EXPECT_THAT(
      EventsOf(Event("REPLACED\\n", kService) +
               Event("ADDED", R"({"kind":"Pod","metadata":)"
                              R"({"resourceVersion":"4"}})") +
               Event("ADDED", "5") + Event("DELETED", R"({"metadata":{"resourceVersion":"6"}})") +
               Event("MODIFIED", "null") + R"({"type":7,"object":{}})" + "{}" +
               Event("added", kService) + Event("ADDED", kService)),
      ElementsAre("unknown [event of unknown type \"REPLACED\\n\"]",
                  "unknown rv 4 [an object of kind \"Pod\", apiVersion \"\", is not a Service]",
                  "unknown [5 is not a Service]", "unknown rv 6 [Service without metadata.name]",
                  "unknown [MODIFIED without an object]", "unknown [event of unknown type \"\"]",
                  "unknown [event of unknown type \"\"]",
                  "unknown [event of unknown type \"added\"]", "added a/web rv 5 30080/tcp"));
}

TEST(WatchDecoderTest, AServiceWithBadPortsIsAppliedWithoutThem) {
  EXPECT_THAT(EventsOf(Event("ADDED", R"({"metadata":{"name":"b"},"spec":{"type":"NodePort",)"
                                      R"("ports":[{"port":80,"nodePort":70000},)"
                                      R"({"port":81,"nodePort":30081}]}})")),
              ElementsAre("added default/b 30081/tcp "
                          "[default/b port 80: nodePort 70000 is outside 1-65535]"));
}

TEST(WatchDecoderTest, DecodesEveryFormOfAnError) {
  EXPECT_THAT(EventsOf(Event("ERROR", R"({"kind":"Status","code":500,"message":"etcd\nis away"})") +
                       Event("ERROR", "{}") + Event("ERROR", "[1]") + R"({"type":"ERROR"})"),
              ElementsAre("error 500 : etcd?is away", "error 0 : ", "error 0 : ", "error 0 : "));
}

TEST(WatchDecoderTest, StopsAtInvalidJson) {
  const std::string good = Event("ADDED", kService);
  for (const char* bad : {"<html>", "]", "{\"type\":}", "{\"type\":\"ADDED\",\"object\":{\"a\":}}",
                          "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"\xff\"}}}",
                          "{\"type\":\"\\ud800\"}", "null", "5", "{\"type\":\"ADDED\"} x"}) {
    const Decoded decoded = Decode(absl::StrCat(good, bad, "\n", good));
    EXPECT_EQ(decoded.status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(decoded.status.message()), StartsWith("watch of Services ")) << bad;
    EXPECT_EQ(decoded.events[0], "added a/web rv 5 30080/tcp");
    EXPECT_LE(decoded.events.size(), 2U) << bad;
  }
  EXPECT_THAT(std::string(Decode("{\"type\":\"\xff\"}").status.message()),
              HasSubstr("has an event 1 that is not valid JSON"));
}

TEST(WatchDecoderTest, ReturnsTheErrorOfTheCallback) {
  WatchDecoder decoder;
  size_t events = 0;
  const auto refuse = [&](WatchEvent&& /*event*/) {
    ++events;
    return absl::AbortedError("list again");
  };
  const std::string two = Event("ADDED", kService) + Event("ADDED", kService);
  EXPECT_EQ(decoder.Feed(two, refuse), absl::AbortedError("list again"));
  EXPECT_EQ(decoder.Feed(two, refuse), absl::AbortedError("list again"));
  EXPECT_EQ(decoder.Finish(), absl::AbortedError("list again"));
  EXPECT_EQ(events, 1U);
}

TEST(WatchDecoderTest, BoundsTheSizeOfAnEvent) {
  const auto event = [](size_t size) {
    return Event("ADDED", absl::StrCat(R"({"metadata":{"annotations":{"a":")",
                                       std::string(size, 'x'), R"("},"name":"b"},"spec":{}})"));
  };
  EXPECT_THAT(DecodeChunks(CutInto(event(5'000'000), 16384)).events,
              ElementsAre("added default/b"));
  const Decoded refused = DecodeChunks(CutInto(event(size_t{16} << 20), 16384));
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(refused.events, IsEmpty());
}

}  // namespace
}  // namespace npg::sources::kubernetes_watch_decoder_test
