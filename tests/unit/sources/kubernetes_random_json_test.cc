// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "sources/kubernetes/object_splitter.h"
#include "testing/status_asserts.h"
#include "unit/sources/kubernetes_chunks.h"
#include "unit/sources/kubernetes_split.h"

namespace npg::sources::kubernetes_random_json_test {
namespace {

using Mode = ObjectSplitter::Mode;

// Random JSON, with strings that look like structure.
class RandomJson {
 public:
  explicit RandomJson(uint32_t seed) : random_(seed) {}

  std::string Object(size_t depth) {
    std::string text = "{";
    for (size_t i = Below(5); i > 0; --i) {
      text += absl::StrCat(text.size() > 1 ? "," : "", Space(), String(), ":", Value(depth));
    }
    return text + Space() + "}";
  }
  std::mt19937& random() { return random_; }
  size_t Below(size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random_);
  }

 private:
  std::string Space() { return std::string(Below(8) == 0 ? 1 + Below(2) : 0, " \n"[Below(2)]); }
  std::string String() {
    constexpr const char* kParts[] = {"items", "a",        "\\\"", "\\\\", "[",   "]",       "{",
                                      "}",     "\\\\\\\"", ":",    ",",    "\\n", "\xc3\xa4"};
    std::string text = "\"";
    for (size_t i = Below(4); i > 0; --i) text += kParts[Below(std::size(kParts))];
    return text + "\"";
  }
  std::string Value(size_t depth) {
    switch (Below(depth > 0 ? 6 : 4)) {
      case 0:
        return String();
      case 1:
        return absl::StrCat(Below(1000));
      case 2:
        return Below(2) == 0 ? "null" : "true";
      case 3:
        return absl::StrCat("-", Below(10), ".5e", Below(3));
      case 4:
        return Object(depth - 1);
      default:
        break;
    }
    std::string text = "[";
    for (size_t i = Below(4); i > 0; --i) {
      text += absl::StrCat(text.size() > 1 ? "," : "", Value(depth - 1), Space());
    }
    return text + "]";
  }

  std::mt19937 random_;
};

TEST(RandomJsonTest, IsSplitAsItWasJoined) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    RandomJson json(seed);
    std::vector<std::string> objects;
    std::string list = "{\"metadata\":" + json.Object(3) + ",\"items\":[";
    std::string stream;
    for (size_t i = json.Below(5); i > 0; --i) {
      list += objects.empty() ? "" : ",";
      objects.push_back(json.Object(4));
      list += objects.back();
      stream += objects.back() + "\n";
    }
    list += "]}";
    EXPECT_EQ(SplitText(Mode::kStream, stream).objects, objects) << seed;
    const Split split = SplitText(Mode::kList, list);
    NPG_EXPECT_OK(split.status);
    EXPECT_EQ(split.objects, objects) << list;
  }
}

// The splitter accepts the same grammar as the DOM parser.
TEST(RandomJsonTest, IsAcceptedIfTheParserAcceptsIt) {
  simdjson::dom::parser parser;
  size_t taken = 0, refused = 0;
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    RandomJson json(seed);
    std::string text = json.Object(3);
    for (size_t i = 1 + json.Below(2); i > 0; --i) {
      text[json.Below(text.size())] = HostileByte(json.random());
    }
    const bool valid = parser.parse(text).error() == simdjson::SUCCESS &&
                       parser.parse(text).value_unsafe().is_object();
    Split split;
    ObjectSplitter splitter(Mode::kStream);
    absl::Status status = splitter.Feed(text, [&](simdjson::padded_string_view object) {
      // The decoders parse the objects after the splitter, too.
      simdjson::ondemand::parser on_demand;
      const auto error = on_demand.iterate(object).error();
      split.objects.emplace_back(object.data(), object.size());
      return error ? absl::InvalidArgumentError("UTF-8") : absl::OkStatus();
    });
    if (status.ok()) status = splitter.Finish().status();
    const bool split_valid = status.ok() && split.objects.size() == 1;
    EXPECT_EQ(split_valid, valid) << text << ": " << status;
    ++(valid ? taken : refused);
  }
  EXPECT_GT(taken, 100U);
  EXPECT_GT(refused, 1000U);
}

}  // namespace
}  // namespace npg::sources::kubernetes_random_json_test
