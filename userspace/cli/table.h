// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_TABLE_H_
#define NODEPORT_GUARD_CLI_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::cli {

// The layout of text on a terminal.
struct Style {
  size_t width = 80;  // columns to fit, where that is possible
  bool colour = false;
};

// The style for standard output: as wide as the terminal (at least 80; 80 without
// one), in colour on a terminal unless NO_COLOR is set or TERM is "dumb".
Style StyleOfStdout();

enum class Tone { kPlain, kHeading, kGood, kWarn, kBad };

// `text`, in the colour of `tone` if the style has colours.
std::string Paint(absl::string_view text, Tone tone, const Style& style);

struct Column {
  std::string title;
  bool right = false;  // numbers
  bool wrap = false;   // may be broken at blanks when the table would be too wide; one per table
};

struct Cell {
  Cell(std::string cell_text, Tone cell_tone = Tone::kPlain)  // NOLINT: reads as the text it is
      : text(std::move(cell_text)), tone(cell_tone) {}
  Cell(const char* cell_text) : text(cell_text) {}  // NOLINT: as above

  std::string text;
  Tone tone = Tone::kPlain;
};

// Columns of text, aligned, two blanks apart. Makes the text of cells printable.
class Table {
 public:
  // Without titles when all are empty.
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as columns; missing ones are empty.
  void AddRow(std::vector<Cell> cells);

  // Lines that end in a newline and in no blanks.
  std::string Render(const Style& style, absl::string_view indent = "") const;

 private:
  std::vector<size_t> Widths(const Style& style, size_t indent) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_TABLE_H_
