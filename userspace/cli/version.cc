// SPDX-License-Identifier: Apache-2.0
#include <bpf/libbpf.h>

#include "abi/entries.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "cli/args/options.h"
#include "cli/build_info.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/output.h"

namespace npg::cli {

absl::StatusOr<int> Execute(const HelpOptions& options) {
  const absl::Status status = WriteOut(options.text);
  if (!status.ok()) return status;
  return kExitOk;
}

absl::StatusOr<int> Execute(const VersionOptions& /*options*/) {
  const absl::Status status =
      WriteOut(absl::StrCat("nodeport-guard ", Version(), "\ncommit ", Commit(), "\nABI ",
                            abi::kVersion, "\nlibbpf ", libbpf_version_string(), "\n"));
  if (!status.ok()) return status;
  return kExitOk;
}

}  // namespace npg::cli
