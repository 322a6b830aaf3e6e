# npg_bpf_skeleton(NAME SOURCE)
#
# Compiles SOURCE for the BPF target and embeds the object through a skeleton
# that bpftool generates. NAME becomes an INTERFACE library whose include path
# has "<NAME>.skel.h". The compiler writes the dependency file, so a changed
# header rebuilds the object.
find_program(NPG_CLANG NAMES clang clang-19 clang-16 clang-15 clang-14 REQUIRED)
find_program(NPG_LLVM_STRIP NAMES llvm-strip llvm-strip-19 llvm-strip-16 llvm-strip-15 llvm-strip-14 REQUIRED)
find_program(NPG_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

# All files that must be generated before a source file can be parsed.
add_custom_target(npg_generated)

function(npg_bpf_skeleton NAME SOURCE)
  set(object "${CMAKE_CURRENT_BINARY_DIR}/${NAME}.bpf.o")
  set(skeleton "${CMAKE_CURRENT_BINARY_DIR}/include/${NAME}.skel.h")
  # The UAPI headers' asm/ folder lives below the multiarch triplet on Debian.
  set(arch_include "")
  if(CMAKE_LIBRARY_ARCHITECTURE)
    set(arch_include "-idirafter" "/usr/include/${CMAKE_LIBRARY_ARCHITECTURE}")
  endif()
  add_custom_command(
    OUTPUT "${object}"
    COMMAND "${NPG_CLANG}" -target bpf -mcpu=v3 -g -O2 -std=gnu11
            -Wall -Wextra -Werror -Wno-unused-parameter
            "-ffile-prefix-map=${PROJECT_SOURCE_DIR}=."
            ${arch_include} "-I${PROJECT_SOURCE_DIR}/bpf"
            -MD -MF "${object}.d" -MT "${object}"
            -c "${SOURCE}" -o "${object}"
    # Removes DWARF and keeps BTF, which bpftool needs to print the maps.
    COMMAND "${NPG_LLVM_STRIP}" -g "${object}"
    DEPENDS "${SOURCE}"
    DEPFILE "${object}.d"
    COMMENT "Compiling ${NAME} for BPF"
    VERBATIM)
  add_custom_command(
    OUTPUT "${skeleton}"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${CMAKE_CURRENT_BINARY_DIR}/include"
    COMMAND sh -c "\"$1\" gen skeleton \"$2\" name \"$3\" > \"$4.tmp\" && mv \"$4.tmp\" \"$4\""
            sh "${NPG_BPFTOOL}" "${object}" "${NAME}" "${skeleton}"
    DEPENDS "${object}"
    COMMENT "Generating ${NAME}.skel.h"
    VERBATIM)
  add_custom_target(${NAME}_skeleton_file DEPENDS "${skeleton}")
  add_library(${NAME}_skeleton INTERFACE)
  target_include_directories(${NAME}_skeleton SYSTEM INTERFACE "${CMAKE_CURRENT_BINARY_DIR}/include")
  target_link_libraries(${NAME}_skeleton INTERFACE PkgConfig::LIBBPF)
  add_dependencies(${NAME}_skeleton ${NAME}_skeleton_file)
  add_dependencies(npg_generated ${NAME}_skeleton_file)
endfunction()
