// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_KUBERNETES_OBJECT_SPLITTER_H_
#define NODEPORT_GUARD_SOURCES_KUBERNETES_OBJECT_SPLITTER_H_

#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::sources {

// Splits a body of the API server into its objects while it arrives, in chunks that are
// split anywhere. Holds one object and at most 64 KiB of what follows, copies each byte
// once, and frees memory after a large object.
//
// It finds the objects by their brackets, and simdjson validates each one completely:
// the on-demand parser of the callers does not validate what it skips, and is not safe on
// invalid grammar. Bytes between two tokens are checked at once, so that a missing bracket
// or quote does not swallow the objects that follow. See docs/design/json-lists.md.
class ObjectSplitter {
 public:
  enum class Mode : uint8_t {
    kList,    // one document: the elements of its member "items", which are objects
    kStream,  // objects one after another, with white space between them or not
  };

  // etcd refuses objects of more than 1.5 MiB (--max-request-bytes), the API server those
  // of more than 3 MiB; JSON is larger than the encoding that they measure.
  static constexpr size_t kMaxObject = size_t{16} << 20;
  // The API server's types nest about twenty deep; simdjson allows 1024.
  static constexpr size_t kMaxDepth = 1000;
  // kind, apiVersion and metadata of a list need some hundred bytes.
  static constexpr size_t kMaxEnvelope = size_t{1} << 20;

  // Called with one object, valid with its padding during the call.
  using OnObject = absl::FunctionRef<absl::Status(simdjson::padded_string_view json)>;

  explicit ObjectSplitter(Mode mode) : mode_(mode) {}

  // Takes the next bytes. INVALID_ARGUMENT, in one line, for input that is not JSON (a page
  // of a proxy fails, quoted, at its first byte), nests too deep, or has a number beyond 64
  // bits; RESOURCE_EXHAUSTED beyond the limits above; or the error of `on_object`. After an
  // error, every call returns it again.
  absl::Status Feed(absl::string_view bytes, OnObject on_object);

  // Call it after the last byte. INVALID_ARGUMENT when an object is incomplete, or an
  // expected document is missing. Returns a list without its items,
  // `{"kind":"ServiceList",...,"items":[]}`, or "" for a stream; valid as long as the
  // splitter. Its brackets match; the caller's parser checks its grammar.
  absl::StatusOr<absl::string_view> Finish();

  // Bytes of memory that the splitter holds.
  size_t held() const { return buffer_.size() + envelope_.capacity(); }

 private:
  enum class Place : uint8_t { kOutside, kEnvelope, kItems, kObject };

  absl::Status Drain(OnObject on_object);
  absl::Status Take(char c, OnObject on_object);
  absl::Status TakeOutside(char c);
  absl::Status TakeBetweenItems(char c, char before);
  absl::Status TakeInString();
  absl::Status Open(char c, char before);
  absl::Status Close(OnObject on_object);
  absl::Status HandOver(OnObject on_object);
  absl::Status CheckObject(absl::string_view json);
  absl::Status Pause();
  absl::Status KeepEnvelope(size_t end);
  absl::Status Unexpected(char c) const;
  absl::Status Invalid(absl::string_view why) const;
  void Append(absl::string_view bytes);
  void Compact();
  absl::string_view text() const { return {buffer_.data(), used_}; }

  const Mode mode_;
  Place place_ = Place::kOutside;
  std::vector<char> buffer_;  // used_ bytes, and at least the parser's padding
  size_t used_ = 0;
  size_t at_ = 0;       // the next byte
  size_t mark_ = 0;     // where the object, or what is not yet in envelope_, begins
  size_t dropped_ = 0;  // bytes that preceded buffer_
  size_t depth_ = 0;    // brackets that are open
  char before_ = 0;     // the last byte that is neither white space nor of a string
  bool in_string_ = false;
  bool escaped_ = false;  // the next byte, by a backslash
  std::string key_;       // the last string of the document of a list itself
  size_t objects_ = 0;
  bool done_ = false;  // the document of a list has ended
  std::string envelope_;
  simdjson::dom::parser checker_;
  absl::Status status_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_OBJECT_SPLITTER_H_
