// SPDX-License-Identifier: Apache-2.0
#include "cli/args/environment.h"

#include <cstdlib>
#include <optional>
#include <string>

namespace npg::cli {

std::optional<std::string> ReadEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): never changed
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace npg::cli
