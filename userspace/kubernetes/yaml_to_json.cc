// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/yaml_to_json.h"

#include <yaml-cpp/emitterstyle.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <exception>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace npg::kubernetes {
namespace {

// The parser's tag for a scalar without quotes.
constexpr absl::string_view kPlain = "?";

// With one more digit, a number may exceed the range of a JSON parser.
constexpr size_t kMaxNumber = 18;

size_t CountDigits(absl::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[digits]))) {
    ++digits;
  }
  return digits;
}

// True for -?(0|[1-9][0-9]*)(\.[0-9]+)?: a number in YAML and in JSON alike.
bool IsNumber(absl::string_view text) {
  if (text.size() > kMaxNumber) return false;
  if (!text.empty() && text.front() == '-') text.remove_prefix(1);
  const size_t whole = CountDigits(text);
  if (whole == 0 || (whole > 1 && text.front() == '0')) return false;
  text.remove_prefix(whole);
  if (text.empty()) return true;
  if (text.front() != '.') return false;
  text.remove_prefix(1);
  return !text.empty() && CountDigits(text) == text.size();
}

void AppendString(std::string& json, absl::string_view text) {
  json += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&json, "\\u%04x", static_cast<unsigned>(c));
    } else {
      json += c;
    }
  }
  json += '"';
}

// The parser's error, without the input that it quotes, which may be a secret, and is
// not always printable.
std::string Reason(const YAML::Exception& error) {
  // The name of an anchor follows; a known anchor would be refused, too.
  if (absl::StartsWith(error.msg, YAML::ErrorMsg::UNKNOWN_ANCHOR)) {
    return "aliases are not supported";
  }
  return error.msg.substr(0, error.msg.find(": "));
}

// Receives the parser's events and writes JSON. Stops the parser with its own exception,
// as the parser does on invalid input.
class JsonWriter : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    BeginValue(mark, true);
    json_ += InKey() ? "\"\"" : "null";
    EndValue();
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    // A few lines of aliases can stand for gigabytes.
    throw YAML::ParserException(mark, "aliases are not supported");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                const std::string& value) override {
    BeginValue(mark, true);
    if (!InKey() && tag == kPlain && (IsNumber(value) || value == "true" || value == "false")) {
      json_ += value;
    } else {
      AppendString(json_, value);
    }
    EndValue();
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/,
                       YAML::anchor_t /*anchor*/, YAML::EmitterStyle::value /*style*/) override {
    BeginValue(mark, false);
    json_ += '[';
    levels_.push_back({Kind::kList, 0});
  }
  void OnSequenceEnd() override {
    levels_.pop_back();
    json_ += ']';
    EndValue();
  }

  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    BeginValue(mark, false);
    json_ += '{';
    levels_.push_back({Kind::kMap, 0});
  }
  void OnMapEnd() override {
    levels_.pop_back();
    json_ += '}';
    EndValue();
  }

  // Moves the JSON text out.
  std::string Take() { return std::exchange(json_, ""); }

 private:
  enum class Kind { kList, kMap };
  struct Level {
    Kind kind;
    size_t values;  // written so far; in a map, keys count too
  };

  // True while the present value is the key of a map.
  bool InKey() const {
    return !levels_.empty() && levels_.back().kind == Kind::kMap && levels_.back().values % 2 == 0;
  }

  void BeginValue(const YAML::Mark& mark, bool scalar) {
    if (levels_.empty()) return;
    if (InKey() && !scalar) throw YAML::ParserException(mark, "a key is not a plain word");
    const Level& level = levels_.back();
    if (level.kind == Kind::kMap && !InKey()) {
      json_ += ':';
    } else if (level.values > 0) {
      json_ += ',';
    }
  }

  void EndValue() {
    if (!levels_.empty()) ++levels_.back().values;
  }

  std::string json_;
  std::vector<Level> levels_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> YamlToJson(const std::string& yaml) {
  std::vector<std::string> documents;
  try {
    // The parser accepts an open quote at the end of the input. The added comment has no
    // effect except within quotes, where it makes that an error.
    std::istringstream input(yaml + "\n#");
    YAML::Parser parser(input);
    JsonWriter writer;
    while (parser.HandleNextDocument(writer)) {
      std::string json = writer.Take();
      if (!json.empty() && json != "null") documents.push_back(std::move(json));
    }
  } catch (const YAML::Exception& error) {
    const std::string where =
        error.mark.is_null() ? "" : absl::StrCat("line ", error.mark.line + 1, ": ");
    return absl::InvalidArgumentError(absl::StrCat(where, Reason(error)));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("not valid YAML: ", error.what()));
  }
  return documents;
}

}  // namespace npg::kubernetes
