// SPDX-License-Identifier: Apache-2.0
#include "bench/environment.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::bench {

std::string ProcessorModel(const std::string& cpuinfo) {
  for (const absl::string_view line : absl::StrSplit(cpuinfo, '\n')) {
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos || !absl::StartsWith(line, "model name")) continue;
    return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return "unknown";
}

Environment ReadEnvironment() {
  Environment environment;
  utsname name{};
  if (uname(&name) == 0) environment.kernel = absl::StrCat(name.release, " ", name.machine);
  std::ifstream cpuinfo("/proc/cpuinfo");
  environment.processor = ProcessorModel(
      std::string(std::istreambuf_iterator<char>(cpuinfo), std::istreambuf_iterator<char>()));
  environment.processors = std::max(sysconf(_SC_NPROCESSORS_ONLN), 0L);
  environment.commit = NPG_COMMIT;
  environment.date = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  return environment;
}

}  // namespace npg::bench
