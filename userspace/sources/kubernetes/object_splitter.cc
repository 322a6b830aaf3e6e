// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/object_splitter.h"

#include <simdjson.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "core/service_name.h"

namespace npg::sources {
namespace {

// The part of a chunk that is copied at a time, so that a large chunk is not held twice.
constexpr size_t kSlice = size_t{64} << 10;

// A buffer that a large object has grown beyond this is freed.
constexpr size_t kKeptBuffer = size_t{1} << 20;

// Outside of an item of a list: the document and its list of items.
constexpr size_t kItemDepth = 2;

// A parser keeps several times the memory of its largest text. Above this it is replaced.
constexpr size_t kKeptChecker = size_t{256} << 10;

constexpr absl::string_view kSpace = " \t\r\n";

// `json` with all surrogates replaced: half of a pair ("\ud800") is valid JSON, but
// simdjson refuses it.
std::string WithoutSurrogates(absl::string_view json) {
  return absl::StrReplaceAll(json, {{R"(\ud)", R"(\u0)"}, {R"(\uD)", R"(\u0)"}});
}

absl::Status TooLarge(absl::string_view what, size_t limit) {
  return absl::ResourceExhaustedError(
      absl::StrCat("has ", what, " of more than ", limit >> 20, " MiB, which no API server sends"));
}

}  // namespace

absl::Status ObjectSplitter::Feed(absl::string_view bytes, OnObject on_object) {
  while (status_.ok() && !bytes.empty()) {
    const absl::string_view slice = bytes.substr(0, kSlice);
    bytes.remove_prefix(slice.size());
    Append(slice);
    status_ = Drain(on_object);
    if (status_.ok()) Compact();
  }
  return status_;
}

absl::StatusOr<absl::string_view> ObjectSplitter::Finish() {
  if (!status_.ok()) return status_;
  if (place_ != Place::kOutside) {
    return absl::InvalidArgumentError(absl::StrCat("was cut: it ends after ", dropped_ + used_,
                                                   " bytes and ", objects_,
                                                   " objects, in the middle of JSON"));
  }
  if (mode_ == Mode::kList && !done_) {
    return absl::InvalidArgumentError("is empty where a JSON object is expected");
  }
  return absl::string_view(envelope_);
}

absl::Status ObjectSplitter::Drain(OnObject on_object) {
  while (at_ < used_) {
    NPG_RETURN_IF_ERROR(in_string_ ? TakeInString() : Take(buffer_[at_++], on_object));
  }
  return Pause();
}

// Takes a byte that is in no string.
absl::Status ObjectSplitter::Take(char c, OnObject on_object) {
  if (absl::StrContains(kSpace, c)) return absl::OkStatus();
  if (place_ == Place::kOutside) return TakeOutside(c);
  const char before = std::exchange(before_, c);
  if (place_ == Place::kItems) return TakeBetweenItems(c, before);
  switch (c) {
    case '{':
    case '[':
    case '"':
      return Open(c, before);
    case '}':
    case ']':
      return Close(on_object);
    default:
      return absl::ascii_iscntrl(static_cast<unsigned char>(c)) ? Unexpected(c) : absl::OkStatus();
  }
}

// The beginning of the document or of the next object of a stream.
absl::Status ObjectSplitter::TakeOutside(char c) {
  const size_t begin = at_ - 1;
  if (done_ || c != '{') {
    return absl::InvalidArgumentError(
        absl::StrCat(done_ ? "goes on after its end" : "is no JSON object", ": \"",
                     core::Printable(text().substr(begin)), "\" at byte ", dropped_ + begin));
  }
  mark_ = begin;
  depth_ = 1;
  before_ = c;
  place_ = mode_ == Mode::kList ? Place::kEnvelope : Place::kObject;
  return absl::OkStatus();
}

absl::Status ObjectSplitter::TakeBetweenItems(char c, char before) {
  const size_t begin = at_ - 1;
  if (c == '{' && before != '}') {
    mark_ = begin;
    ++depth_;
    place_ = Place::kObject;
  } else if (c == ']' && before != ',') {
    mark_ = begin;
    --depth_;
    place_ = Place::kEnvelope;
  } else if (absl::StrContains("{],", c)) {
    if (c != ',' || before != '}') return Unexpected(c);
  } else {
    const absl::string_view item = text().substr(begin, text().find_first_of(",]", begin) - begin);
    return Invalid(
        absl::StrCat("has an item that is \"", core::Printable(item), "\", not an object,"));
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::TakeInString() {
  const size_t begin = at_;
  for (; at_ < used_; ++at_) {
    const char c = buffer_[at_];
    if (static_cast<unsigned char>(c) < ' ') {
      ++at_;
      return Invalid("is not valid JSON: a control character in a string");
    }
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      break;
    }
  }
  if (place_ == Place::kEnvelope && depth_ == 1) key_.append(&buffer_[begin], at_ - begin);
  if (!in_string_) ++at_;
  return absl::OkStatus();
}

absl::Status ObjectSplitter::Open(char c, char before) {
  if (!absl::StrContains("{[,:", before)) return Unexpected(c);
  if (c == '"') {
    in_string_ = true;
    if (depth_ == 1) key_.clear();
    return absl::OkStatus();
  }
  if (depth_ == kMaxDepth) {
    return Invalid(absl::StrCat("is not valid JSON: nested more than ", kMaxDepth, " deep"));
  }
  ++depth_;
  if (place_ == Place::kEnvelope && depth_ == kItemDepth && c == '[' && key_ == "items") {
    place_ = Place::kItems;
    return KeepEnvelope(at_);
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::Close(OnObject on_object) {
  --depth_;
  if (place_ == Place::kEnvelope && depth_ == 0) {
    NPG_RETURN_IF_ERROR(KeepEnvelope(at_));
    done_ = true;
    place_ = Place::kOutside;
  } else if (place_ == Place::kObject && depth_ == (mode_ == Mode::kList ? kItemDepth : 0)) {
    NPG_RETURN_IF_ERROR(HandOver(on_object));
    mark_ = at_;
    place_ = mode_ == Mode::kList ? Place::kItems : Place::kOutside;
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::HandOver(OnObject on_object) {
  const size_t size = at_ - mark_;
  if (size > kMaxObject) return TooLarge("an object", kMaxObject);
  ++objects_;
  NPG_RETURN_IF_ERROR(CheckObject(text().substr(mark_, size)));
  return on_object(
      simdjson::padded_string_view(buffer_.data() + mark_, size, buffer_.size() - mark_));
}

// Checks text that is followed by the parser's padding.
absl::Status ObjectSplitter::CheckObject(absl::string_view json) {
  if (checker_.capacity() > kKeptChecker) checker_ = simdjson::dom::parser();
  simdjson::error_code error = checker_.parse(json.data(), json.size(), false).error();
  if (error == simdjson::STRING_ERROR) error = checker_.parse(WithoutSurrogates(json)).error();
  if (error == simdjson::SUCCESS) return absl::OkStatus();
  return Invalid(absl::StrCat("has an ", mode_ == Mode::kList ? "item " : "event ", objects_,
                              " that is not valid JSON: ", simdjson::error_message(error)));
}

// Called when all available bytes are consumed.
absl::Status ObjectSplitter::Pause() {
  switch (place_) {
    case Place::kObject:
      return used_ - mark_ > kMaxObject ? TooLarge("an object", kMaxObject) : absl::OkStatus();
    case Place::kEnvelope:
      return KeepEnvelope(used_);
    case Place::kItems:
    case Place::kOutside:
      mark_ = used_;
      break;
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::KeepEnvelope(size_t end) {
  const absl::string_view part = text().substr(mark_, end - mark_);
  if (envelope_.size() + part.size() > kMaxEnvelope) {
    return TooLarge("a frame around its items", kMaxEnvelope);
  }
  envelope_.append(part.data(), part.size());
  mark_ = end;
  return absl::OkStatus();
}

absl::Status ObjectSplitter::Unexpected(char c) const {
  return Invalid(absl::StrCat("is not valid JSON: unexpected '", core::Printable({&c, 1}), "'"));
}

// An error at the byte that was consumed last.
absl::Status ObjectSplitter::Invalid(absl::string_view why) const {
  return absl::InvalidArgumentError(absl::StrCat(why, " at byte ", dropped_ + at_ - 1));
}

void ObjectSplitter::Append(absl::string_view bytes) {
  const size_t needed = used_ + bytes.size() + simdjson::SIMDJSON_PADDING;
  if (buffer_.size() < needed) buffer_.resize(std::max(needed, 2 * buffer_.size()));
  std::memcpy(buffer_.data() + used_, bytes.data(), bytes.size());
  used_ += bytes.size();
}

// Drops the bytes before mark_.
void ObjectSplitter::Compact() {
  std::memmove(buffer_.data(), buffer_.data() + mark_, used_ - mark_);
  used_ -= mark_;
  dropped_ += mark_;
  at_ -= mark_;
  mark_ = 0;
  if (buffer_.size() > kKeptBuffer && used_ <= kSlice) {
    buffer_ = std::vector<char>(buffer_.data(), buffer_.data() + used_);
    buffer_.resize(used_ + kSlice + simdjson::SIMDJSON_PADDING);
  }
}

}  // namespace npg::sources
