// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigset_t's functions are POSIX

#include <cstddef>
#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/capabilities.h"
#include "base/errno_status.h"

namespace npg::base {

absl::StatusOr<std::thread> StartThread(const std::string& name, std::function<void()> body) {
  constexpr size_t kLongestName = 15;  // the kernel refuses longer ones
  // A thread inherits the mask, so that there is no moment without it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  if (const int error = pthread_sigmask(SIG_SETMASK, &all, &before); error != 0) {
    return ErrnoStatus(error, "block signals");
  }
  absl::StatusOr<std::thread> thread;
  try {
    thread = std::thread([name = name.substr(0, kLongestName), body = std::move(body)] {
      pthread_setname_np(pthread_self(), name.c_str());
      // If this fails, the thread still runs its body.
      DropStartCapabilities().IgnoreError();
      body();
    });
  } catch (const std::system_error& error) {
    thread = absl::ResourceExhaustedError(
        absl::StrCat("start the thread ", name, ": ", error.code().message()));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace npg::base
