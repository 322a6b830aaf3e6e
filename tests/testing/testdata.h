// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_TESTDATA_H_
#define NODEPORT_GUARD_TESTS_TESTING_TESTDATA_H_

#include <gtest/gtest.h>
#include <zlib.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "core/port.h"
#include "testing/paths.h"

namespace npg::testing {

// The text of a file of the source tree, such as "docs/operations.md".
inline std::string ReadSource(const std::string& name) {
  const std::ifstream file(SourcePath(name), std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::string ReadTestdata(const std::string& name) {
  return ReadSource("tests/testdata/" + name);
}

inline std::string GunzipTestdata(const std::string& name) {
  std::string text;
  gzFile file = gzopen(TestdataPath(name).c_str(), "rb");
  EXPECT_NE(file, nullptr) << name;
  if (file == nullptr) return text;
  std::array<char, 65536> chunk;
  for (int got = 0; (got = gzread(file, chunk.data(), chunk.size())) > 0;) {
    text.append(chunk.data(), static_cast<size_t>(got));
  }
  EXPECT_EQ(gzclose(file), Z_OK) << name;
  return text;
}

// The lines of `text` without those that contain `needle`.
inline std::string WithoutLines(const std::string& text, const std::string& needle) {
  std::istringstream input(text);
  std::string result;
  for (std::string line; std::getline(input, line);) {
    if (line.find(needle) == std::string::npos) result += line + "\n";
  }
  return result;
}

inline core::PortKey Tcp(uint16_t port) { return {port, core::Protocol::kTcp}; }
inline core::PortKey Udp(uint16_t port) { return {port, core::Protocol::kUdp}; }

// A temporary folder, removed with this object.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = ::testing::TempDir() + "npg-sources-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void WriteFile(const std::string& path, absl::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
}

inline void WriteScript(const std::string& path, const std::string& body) {
  WriteFile(path, "#!/bin/sh\n" + body + "\n");
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_TESTDATA_H_
