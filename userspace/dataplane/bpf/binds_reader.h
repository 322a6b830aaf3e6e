// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_BINDS_READER_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_BINDS_READER_H_

#include <bpf/libbpf.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "base/event_loop.h"

namespace npg::dataplane {

// The only reader of the ring buffer `binds`, for the controller.
class BindsReader {
 public:
  // `map_fd` stays the caller's. `bound` is called once for all records in the buffer.
  static absl::StatusOr<std::unique_ptr<BindsReader>> Start(base::EventLoop& loop, int map_fd,
                                                            std::function<void()> bound);
  ~BindsReader();
  BindsReader(const BindsReader&) = delete;
  BindsReader& operator=(const BindsReader&) = delete;

 private:
  struct Free {
    void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
  };

  BindsReader(base::EventLoop& loop, std::function<void()> bound)
      : loop_(loop), bound_(std::move(bound)) {}

  base::EventLoop& loop_;
  std::function<void()> bound_;
  std::unique_ptr<ring_buffer, Free> ring_;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_BINDS_READER_H_
