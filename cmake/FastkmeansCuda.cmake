# SPDX-License-Identifier: Apache-2.0
# The CUDA kernels of src/cuda/*.cu: FASTKMEANS_CUDA is ON, OFF, or AUTO (ON where a CUDA compiler is found). The same
# name in the environment says it for pip. The run time is linked statically and looks the driver up when it is used, so
# the library loads on machines without one.
set(FASTKMEANS_CUDA "" CACHE STRING "Build the CUDA kernels: AUTO, ON or OFF")
set_property(CACHE FASTKMEANS_CUDA PROPERTY STRINGS AUTO ON OFF)
set(wanted "${FASTKMEANS_CUDA}")
if(wanted STREQUAL "")
  set(wanted "$ENV{FASTKMEANS_CUDA}")
endif()
if(wanted STREQUAL "")
  set(wanted AUTO)
endif()

set(FASTKMEANS_HAS_CUDA OFF)
if(NOT wanted STREQUAL "OFF")
  # The compiler of the PyPI packages (pyproject.toml) stands in the environment that builds.
  execute_process(COMMAND python3 ${CMAKE_CURRENT_LIST_DIR}/cuda_toolkit.py OUTPUT_VARIABLE wheel_toolkit
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(FASTKMEANS_NVCC nvcc HINTS "$ENV{CUDA_HOME}/bin" "${wheel_toolkit}/bin" PATHS /usr/local/cuda/bin)
    if(FASTKMEANS_NVCC)
      set(CMAKE_CUDA_COMPILER "${FASTKMEANS_NVCC}")
    endif()
  endif()
  include(CheckLanguage)
  if(CMAKE_CUDA_COMPILER OR DEFINED ENV{CUDACXX})
    set(FASTKMEANS_HAS_CUDA ON)
  elseif(NOT wanted STREQUAL "AUTO")
    message(FATAL_ERROR "FASTKMEANS_CUDA=${wanted}, and no CUDA compiler: put nvcc 13 on the PATH, or install the "
                        "packages that scripts/setup.py --cuda installs")
  endif()
endif()
message(STATUS "fastkmeans: CUDA kernels ${FASTKMEANS_HAS_CUDA} (FASTKMEANS_CUDA=${wanted})")

# Adds the kernels to the objects of the core.
function(fastkmeans_cuda_sources target)
  if(NOT FASTKMEANS_HAS_CUDA)
    return()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cu)
  target_sources(${target} PRIVATE ${sources})
  target_compile_definitions(${target} PRIVATE FASTKMEANS_CUDA=1)
  set_target_properties(${target} PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Static
                                             CUDA_VISIBILITY_PRESET hidden
                                             # Machine code for the cards we name, PTX for those to come.
                                             CUDA_ARCHITECTURES "80-real;86-real;89-real;90-real;90-virtual")
  # The same bits everywhere: no product and sum become one unless the source says so; division, root and denormals are
  # IEEE's (nvcc's defaults, stated).
  target_compile_options(
    ${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false -prec-div=true -prec-sqrt=true -ftz=false
                      --expt-relaxed-constexpr -Xcompiler=-ffp-contract=off,-Wall,-Wextra
                      $<$<BOOL:${FASTKMEANS_WERROR}>:-Werror=all-warnings>>)
endfunction()
