# Every target of ours is compiled with these; third-party headers come in as
# system headers and are exempt.
add_library(npg_warnings INTERFACE)
target_compile_options(npg_warnings INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor -Werror)
