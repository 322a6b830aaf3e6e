// SPDX-License-Identifier: Apache-2.0
//
// Writes the man page and the shell completions at build time:
//   npg_gen_docs FOLDER
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/args/command_line.h"
#include "cli/args/man_page.h"
#include "cli/args/shell_completion.h"
#include "cli/build_info.h"

namespace {

bool WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (file.fail()) std::cerr << "npg_gen_docs: cannot write " << path << "\n";
  return !file.fail();
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv, argv + argc);
  if (args.size() != 2) {
    std::cerr << "usage: npg_gen_docs FOLDER\n";
    return 2;
  }
  const npg::cli::CommandLine command_line;
  const CLI::App& app = command_line.app();
  const bool written =
      WriteFile(absl::StrCat(args[1], "/nodeport-guard.8"),
                npg::cli::ManPage(app, npg::cli::Version())) &&
      WriteFile(absl::StrCat(args[1], "/nodeport-guard.bash"), npg::cli::BashCompletion(app)) &&
      WriteFile(absl::StrCat(args[1], "/_nodeport-guard"), npg::cli::ZshCompletion(app));
  return written ? 0 : 1;
}
