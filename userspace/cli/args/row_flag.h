// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_ROW_FLAG_H_
#define NODEPORT_GUARD_CLI_ARGS_ROW_FLAG_H_

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "cli/args/flags.h"

namespace npg::cli {

// A flag whose target becomes the value of one of `rows`, chosen by its name.
template <typename Enum, size_t N>
Flag RowFlag(std::string name, const std::array<abi::Row<Enum>, N>& rows, std::string help,
             std::shared_ptr<Enum> target) {
  auto text = std::make_shared<std::string>();
  Flag flag = ChoiceFlag(std::move(name), absl::StrJoin(abi::NamesIn(rows), "|"), std::move(help),
                         std::string(abi::Name(*target)), text);
  flag.set = [set = flag.set, text, &rows,
              target = std::move(target)](const std::vector<std::string>& values) {
    absl::Status status = set(values);
    if (status.ok()) *target = abi::FindByName(rows, *text)->value;
    return status;
  };
  return flag;
}

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_ROW_FLAG_H_
