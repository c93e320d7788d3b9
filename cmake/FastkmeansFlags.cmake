# SPDX-License-Identifier: Apache-2.0
# How everything is compiled. The result must be the same bits on every machine, so a multiply and an add are fused
# only where the source says so (-ffp-contract=off), and -ffast-math and -march=native have no place here.

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(fastkmeans_flags INTERFACE)
target_compile_options(fastkmeans_flags INTERFACE
                       $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off -Wall -Wextra
                       $<$<BOOL:${FASTKMEANS_WERROR}>:-Werror>>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # Warns of ordinary std::string concatenation (GCC bug 105651).
  target_compile_options(fastkmeans_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()

# For the whole build, so that the tests are instrumented as well.
if(FASTKMEANS_SANITIZE)
  add_compile_options(-fsanitize=${FASTKMEANS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${FASTKMEANS_SANITIZE})
endif()

# A shared library exports what its map names and nothing else, whatever it is linked with (ELF linkers only).
function(fastkmeans_exports target map)
  if(UNIX AND NOT APPLE)
    set(map ${PROJECT_SOURCE_DIR}/cmake/${map})
    target_link_options(${target} PRIVATE -Wl,--version-script=${map} -Wl,--exclude-libs,ALL)
    set_target_properties(${target} PROPERTIES LINK_DEPENDS ${map})
  endif()
endfunction()

# Exceptions leave the library, so it must unwind by the same libgcc as its user; linked statically by a compiler that
# does so by itself, and hidden by the map, its own copy would end the process.
include(CheckLinkerFlag)
function(fastkmeans_throws target)
  check_linker_flag(CXX -lgcc_s FASTKMEANS_HAS_LIBGCC_S)
  if(UNIX AND NOT APPLE AND FASTKMEANS_HAS_LIBGCC_S)
    target_link_options(${target} PRIVATE -Wl,--push-state,--no-as-needed -lgcc_s -Wl,--pop-state)
  endif()
endfunction()

# One source, compiled once for each instruction set; the run time picks (src/cpu). Every other file stays at the
# baseline, so that nothing outside these can use an instruction that the machine lacks.
function(fastkmeans_instruction_set_flags)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set_source_files_properties(src/cpu/kernels_neon_dotprod.cpp PROPERTIES COMPILE_OPTIONS -march=armv8.2-a+dotprod)
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    return()
  endif()
  set(avx2 -mavx2 -mfma)
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  set_source_files_properties(src/cpu/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS "${avx2}")
  set_source_files_properties(src/cpu/kernels_avx512.cpp PROPERTIES COMPILE_OPTIONS "${avx512}")
  set_source_files_properties(src/cpu/kernels_avx512_vnni.cpp PROPERTIES COMPILE_OPTIONS "${avx512};-mavx512vnni")
  set_source_files_properties(src/cpu/kernels_amx_int8.cpp PROPERTIES COMPILE_OPTIONS
                                                                      "${avx512};-mamx-tile;-mamx-int8")
endfunction()
