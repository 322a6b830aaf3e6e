# The warnings of every target of the project; third-party headers are included as
# system headers and are exempt.
add_library(npg_warnings INTERFACE)
target_compile_options(npg_warnings INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor -Werror)
