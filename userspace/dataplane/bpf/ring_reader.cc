// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/ring_reader.h"

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"

namespace npg::dataplane {
namespace {

// A record: 8 bytes of header (length and two flag bits, page offset), then
// the sample, padded to 8 bytes.
constexpr uint64_t kHeaderBytes = 8;

uint32_t SampleBytes(uint32_t header) {
  return header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
}

uint64_t RecordBytes(uint32_t header) {
  return (uint64_t{SampleBytes(header)} + kHeaderBytes + 7) / 8 * 8;
}

std::atomic_ref<uint64_t> Position(void* page) {
  return std::atomic_ref<uint64_t>(*static_cast<uint64_t*>(page));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RingReader>> RingReader::Open(const PinPaths& pins, const char* name,
                                                             size_t shortest, size_t longest) {
  absl::StatusOr<base::UniqueFd> map = OpenPin(pins.Map(name));
  if (!map.ok()) return map.status();
  std::unique_ptr<RingReader> reader(new RingReader(name, shortest, longest));
  const absl::StatusOr<bpf_map_info> info = DescribeMap(map->get(), name);
  if (!info.ok()) return info.status();
  if (info->type != BPF_MAP_TYPE_RINGBUF) {
    return absl::FailedPreconditionError(absl::StrCat("map ", name, " is not a ring buffer"));
  }
  reader->map_ = *std::move(map);
  reader->map_id_ = info->id;
  reader->page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  reader->size_ = info->max_entries;
  void* consumer =
      mmap(nullptr, reader->page_, PROT_READ | PROT_WRITE, MAP_SHARED, reader->map_.get(), 0);
  if (consumer == MAP_FAILED) {
    return base::ErrnoStatus(errno, absl::StrCat("map the consumer page of ", name));
  }
  reader->consumer_ = consumer;
  void* producer = mmap(nullptr, reader->page_ + 2 * reader->size_, PROT_READ, MAP_SHARED,
                        reader->map_.get(), static_cast<off_t>(reader->page_));
  if (producer == MAP_FAILED) {
    return base::ErrnoStatus(errno, absl::StrCat("map the records of ", name));
  }
  reader->producer_ = producer;
  reader->position_ = reader->ProducerPosition();
  reader->AdvanceConsumer(reader->position_);
  return reader;
}

RingReader::~RingReader() {
  if (consumer_ != nullptr) munmap(consumer_, page_);
  if (producer_ != nullptr) munmap(producer_, page_ + 2 * size_);
}

absl::StatusOr<bool> RingReader::IsPinned(const PinPaths& pins) const {
  const absl::StatusOr<base::UniqueFd> map = OpenPin(pins.Map(name_));
  if (!map.ok()) return map.status();
  const absl::StatusOr<bpf_map_info> info = DescribeMap(map->get(), name_);
  if (!info.ok()) return info.status();
  return info->id == map_id_;
}

uint64_t RingReader::ProducerPosition() const {
  return Position(producer_).load(std::memory_order_acquire);
}

void RingReader::AdvanceConsumer(uint64_t position) const {
  std::atomic_ref<uint64_t> consumer = Position(consumer_);
  uint64_t current = consumer.load(std::memory_order_relaxed);
  while (current < position &&
         !consumer.compare_exchange_weak(current, position, std::memory_order_release)) {
  }
}

void RingReader::Drain(uint64_t* lost, absl::FunctionRef<void(const std::byte*)> take) {
  auto* data = static_cast<std::byte*>(producer_) + page_;
  for (uint64_t end = ProducerPosition(); position_ < end;) {
    std::byte* record = data + (position_ & (size_ - 1));
    const uint32_t header = std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(record))
                                .load(std::memory_order_acquire);
    const size_t length = SampleBytes(header);
    const bool known = length >= shortest_ && length <= record_.size();
    if (known) {
      std::memcpy(record_.data(), record + kHeaderBytes, length);
      std::fill(record_.begin() + static_cast<std::ptrdiff_t>(length), record_.end(), std::byte{0});
    }
    // The copy is valid only if the kernel cannot have overwritten it meanwhile: it
    // reserves at most one buffer past the shared consumer position, which may be
    // ahead of ours. The fence orders the copy before the second load of the position.
    std::atomic_thread_fence(std::memory_order_acquire);
    if (const uint64_t newest = ProducerPosition(); newest - position_ > size_) {
      *lost += (newest - position_) / RecordBytes(static_cast<uint32_t>(record_.size()));
      position_ = newest;
      break;
    }
    if ((header & BPF_RINGBUF_BUSY_BIT) != 0) break;  // still being written
    if (known && (header & BPF_RINGBUF_DISCARD_BIT) == 0) take(record_.data());
    position_ += RecordBytes(header);
  }
  AdvanceConsumer(position_);
}

}  // namespace npg::dataplane
