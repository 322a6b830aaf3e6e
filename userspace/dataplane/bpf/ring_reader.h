// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_RING_READER_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_RING_READER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "abi/convert.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::dataplane {

// Follows a pinned ring buffer without consuming the records of other readers. Every reader keeps
// its own position, and moves the shared consumer position only forward, to make room for the
// kernel. A reader that falls behind by more than the buffer detects that, and counts the lost
// records. (libbpf's ring_buffer shares one position among all readers.)
// Layout: Documentation/bpf/ringbuf.rst.
class RingReader {
 public:
  // Starts at the newest record of the map `name`. Errors as those of opening the pin. Records have
  // `longest` bytes, or fewer, but not less than `shortest`, when an earlier version writes them.
  static absl::StatusOr<std::unique_ptr<RingReader>> Open(const PinPaths& pins, const char* name,
                                                          size_t shortest, size_t longest);

  ~RingReader();
  RingReader(const RingReader&) = delete;
  RingReader& operator=(const RingReader&) = delete;

  int fd() const { return map_.get(); }
  absl::StatusOr<bool> IsPinned(const PinPaths& pins) const;

  // Calls `take` with each record since the last call, `longest` bytes, with zeroes for what a
  // shorter one lacks. Adds to *lost how many were overwritten before they could be read.
  void Drain(uint64_t* lost, absl::FunctionRef<void(const std::byte*)> take);

 private:
  RingReader(const char* name, size_t shortest, size_t longest)
      : name_(name), shortest_(shortest), record_(longest) {}

  uint64_t ProducerPosition() const;
  void AdvanceConsumer(uint64_t position) const;

  const char* const name_;
  const size_t shortest_;
  std::vector<std::byte> record_;
  base::UniqueFd map_;
  uint32_t map_id_ = 0;  // the kernel never reuses one
  size_t page_ = 0;
  size_t size_ = 0;  // of the data area, a power of two
  void* consumer_ = nullptr;
  void* producer_ = nullptr;  // a page, then the data area, twice in a row
  uint64_t position_ = 0;
};

// The records of Drain() as abi::FromC() converts them.
template <typename Record>
auto DrainAs(RingReader& ring, uint64_t* lost) {
  std::vector<decltype(abi::FromC(Record{}))> records;
  ring.Drain(lost, [&records](const std::byte* bytes) {
    Record record{};
    std::memcpy(&record, bytes, sizeof(record));
    records.push_back(abi::FromC(record));
  });
  return records;
}

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_RING_READER_H_
