// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/object_splitter.h"

#include <simdjson.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "core/service_name.h"
#include "sources/kubernetes/json_scanner.h"

namespace npg::sources {
namespace {

// What is taken of a chunk at a time, so that a large chunk is not held twice.
constexpr size_t kSlice = size_t{64} << 10;

// A buffer that one large object has made larger than this is given back.
constexpr size_t kKeptBuffer = size_t{1} << 20;

// In a list, brackets are of interest down to those of an item: the document's,
// the list of items', the item's.
constexpr size_t kItemDepth = 2;

constexpr absl::string_view kSpace = " \t\r\n";

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
  while (true) {
    if (place_ == Place::kOutside) {
      NPG_RETURN_IF_ERROR(Begin());
      if (place_ == Place::kOutside) return absl::OkStatus();
    }
    switch (scanner_.Scan(text(), mode_ == Mode::kList ? kItemDepth : 0)) {
      case JsonScanner::Step::kMore:
        return Pause();
      case JsonScanner::Step::kError:
        return Invalid(absl::StrCat("is not valid JSON: ", scanner_.error()));
      case JsonScanner::Step::kOpen:
        NPG_RETURN_IF_ERROR(OnOpen());
        break;
      case JsonScanner::Step::kClose:
        NPG_RETURN_IF_ERROR(OnClose(on_object));
        break;
    }
  }
}

// Looks for the beginning of the document or of the next object.
absl::Status ObjectSplitter::Begin() {
  const size_t begin = std::min(text().find_first_not_of(kSpace, mark_), used_);
  mark_ = begin;
  if (begin == used_) return absl::OkStatus();
  if (done_ || text()[begin] != '{') {
    return absl::InvalidArgumentError(
        absl::StrCat(done_ ? "goes on after its end" : "is no JSON object", ": \"",
                     core::Printable(text().substr(begin)), "\" at byte ", dropped_ + begin));
  }
  scanner_.Restart(begin);
  place_ = mode_ == Mode::kList ? Place::kEnvelope : Place::kObject;
  return absl::OkStatus();
}

absl::Status ObjectSplitter::OnOpen() {
  if (place_ == Place::kEnvelope && scanner_.depth() == kItemDepth && scanner_.in_array() &&
      scanner_.key() == "items") {
    place_ = Place::kItems;
    return KeepEnvelope(scanner_.position());
  }
  if (place_ == Place::kItems) {
    const size_t begin = scanner_.position() - 1;
    NPG_RETURN_IF_ERROR(CheckGap(begin));
    if (scanner_.in_array()) return Invalid("has an item that is a list, not an object,");
    mark_ = begin;
    place_ = Place::kObject;
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::OnClose(OnObject on_object) {
  const size_t end = scanner_.position();
  switch (place_) {
    case Place::kObject:
      NPG_RETURN_IF_ERROR(HandOver(on_object));
      mark_ = end;
      place_ = mode_ == Mode::kList ? Place::kItems : Place::kOutside;
      break;
    case Place::kItems:
      NPG_RETURN_IF_ERROR(CheckGap(end - 1));
      mark_ = end - 1;
      place_ = Place::kEnvelope;
      break;
    case Place::kEnvelope:
      if (scanner_.depth() > 0) break;
      NPG_RETURN_IF_ERROR(KeepEnvelope(end));
      done_ = true;
      place_ = Place::kOutside;
      break;
    case Place::kOutside:
      break;
  }
  return absl::OkStatus();
}

absl::Status ObjectSplitter::HandOver(OnObject on_object) {
  const size_t size = scanner_.position() - mark_;
  if (size > kMaxObject) return TooLarge("an object", kMaxObject);
  ++objects_;
  return on_object(
      simdjson::padded_string_view(buffer_.data() + mark_, size, buffer_.size() - mark_));
}

// The bytes that are there end where nothing does.
absl::Status ObjectSplitter::Pause() {
  switch (place_) {
    case Place::kObject:
      return used_ - mark_ > kMaxObject ? TooLarge("an object", kMaxObject) : absl::OkStatus();
    case Place::kItems:
      NPG_RETURN_IF_ERROR(CheckGap(used_));
      mark_ = used_;
      return absl::OkStatus();
    case Place::kEnvelope:
      if (envelope_.size() + used_ - mark_ > kMaxEnvelope) {
        return TooLarge("a frame around its items", kMaxEnvelope);
      }
      return KeepEnvelope(scanner_.keep_from());
    case Place::kOutside:
      break;
  }
  return absl::OkStatus();
}

// Between items there are commas, which the scanner has checked, and white space.
absl::Status ObjectSplitter::CheckGap(size_t end) const {
  const absl::string_view gap = text().substr(mark_, end - mark_);
  const size_t other = gap.find_first_not_of(" \t\r\n,");
  if (other == absl::string_view::npos) return absl::OkStatus();
  return Invalid(absl::StrCat("has an item that is \"", core::Printable(gap.substr(other)),
                              "\", not an object,"));
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

absl::Status ObjectSplitter::Invalid(absl::string_view why) const {
  return absl::InvalidArgumentError(absl::StrCat(why, " at byte ", dropped_ + scanner_.position()));
}

void ObjectSplitter::Append(absl::string_view bytes) {
  const size_t needed = used_ + bytes.size() + simdjson::SIMDJSON_PADDING;
  if (buffer_.size() < needed) buffer_.resize(std::max(needed, 2 * buffer_.size()));
  std::memcpy(buffer_.data() + used_, bytes.data(), bytes.size());
  used_ += bytes.size();
}

// Forgets what is before mark_.
void ObjectSplitter::Compact() {
  std::memmove(buffer_.data(), buffer_.data() + mark_, used_ - mark_);
  used_ -= mark_;
  dropped_ += mark_;
  if (place_ != Place::kOutside) scanner_.Drop(mark_);
  mark_ = 0;
  if (buffer_.size() > kKeptBuffer && used_ <= kSlice) {
    buffer_ = std::vector<char>(buffer_.data(), buffer_.data() + used_);
    buffer_.resize(used_ + kSlice + simdjson::SIMDJSON_PADDING);
  }
}

}  // namespace npg::sources
