// SPDX-License-Identifier: Apache-2.0
#include "controller/stop_signals.h"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigprocmask() is POSIX, not <csignal>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "absl/status/status.h"
#include "base/errno_status.h"
#include "base/event_loop.h"

namespace npg::controller {

absl::Status StopSignals::Watch(base::EventLoop& loop) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  if (sigprocmask(SIG_BLOCK, &mask, nullptr) != 0) return base::ErrnoStatus(errno, "block signals");
  signals_.Reset(signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return base::ErrnoStatus(errno, "signalfd");
  return loop.AddFd(signals_.get(), EPOLLIN, [this, &loop](uint32_t /*events*/) {
    signalfd_siginfo info{};
    if (read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return;
    spdlog::info("{}: stopping", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
    loop.Stop();
  });
}

}  // namespace npg::controller
