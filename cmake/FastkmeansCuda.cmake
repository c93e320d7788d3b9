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
if(NOT wanted MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "FASTKMEANS_CUDA is '${wanted}'; it must be AUTO, ON or OFF")
endif()

# An older one must not break a build that did not ask for CUDA.
function(fastkmeans_check_nvcc ok file)
  execute_process(COMMAND ${file} --version OUTPUT_VARIABLE text ERROR_QUIET)
  if(NOT text MATCHES "release (1[3-9]|[2-9][0-9])\\.")
    set(${ok} FALSE PARENT_SCOPE)
  endif()
endfunction()

# Sets CMAKE_CUDA_COMPILER, if there is one: what CMake or CUDACXX name, or nvcc where it usually lies, or that of the
# packages from PyPI (cuda_toolkit.py) in the environment that builds.
function(fastkmeans_find_nvcc)
  if(CMAKE_CUDA_COMPILER)
    return()
  endif()
  if(DEFINED ENV{CUDACXX})
    set(FASTKMEANS_NVCC "$ENV{CUDACXX}")
  endif()
  find_program(FASTKMEANS_NVCC nvcc HINTS "$ENV{CUDA_HOME}/bin" PATHS /usr/local/cuda/bin
               VALIDATOR fastkmeans_check_nvcc)
  if(NOT FASTKMEANS_NVCC)
    set(python python3)
    if(Python_EXECUTABLE)  # the one that scikit-build-core runs in
      set(python ${Python_EXECUTABLE})
    endif()
    execute_process(COMMAND ${python} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/cuda_toolkit.py OUTPUT_VARIABLE toolkit
                    OUTPUT_STRIP_TRAILING_WHITESPACE)
    find_program(FASTKMEANS_NVCC nvcc PATHS "${toolkit}/bin" NO_DEFAULT_PATH VALIDATOR fastkmeans_check_nvcc)
  endif()
  if(NOT FASTKMEANS_NVCC)
    return()
  endif()
  set(CMAKE_CUDA_COMPILER "${FASTKMEANS_NVCC}" PARENT_SCOPE)
  # nvcc looks for its libraries in lib64, and those packages have lib: for the programs by which CMake learns what nvcc
  # links. Our own links then go by what it learnt.
  get_filename_component(toolkit "${FASTKMEANS_NVCC}" DIRECTORY)
  if(EXISTS "${toolkit}/../lib/libcudart_static.a")
    set(ENV{NVCC_APPEND_FLAGS} "$ENV{NVCC_APPEND_FLAGS} -L${toolkit}/../lib")
  endif()
endfunction()

set(FASTKMEANS_HAS_CUDA OFF)
if(NOT wanted STREQUAL "OFF")
  fastkmeans_find_nvcc()
  if(CMAKE_CUDA_COMPILER)
    set(FASTKMEANS_HAS_CUDA ON)
    # One host compiler, and so one standard library, for all objects.
    if(NOT DEFINED CMAKE_CUDA_HOST_COMPILER AND NOT DEFINED ENV{CUDAHOSTCXX})
      set(CMAKE_CUDA_HOST_COMPILER "${CMAKE_CXX_COMPILER}")
    endif()
  elseif(wanted STREQUAL "ON")
    message(FATAL_ERROR "FASTKMEANS_CUDA=ON, and no CUDA compiler: put nvcc 13.0 on the PATH, name it in CUDACXX, or "
                        "install the packages that python3 cmake/cuda_toolkit.py --packages prints")
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
                                             CUDA_ARCHITECTURES "80-real;86-real;89-real;90a-real;90-virtual")
  # The same bits everywhere: no product and sum become one unless the source says so; division, root and denormals are
  # IEEE's (nvcc's defaults, stated).
  target_compile_options(
    ${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false -prec-div=true -prec-sqrt=true -ftz=false
                      --expt-relaxed-constexpr -Xcompiler=-ffp-contract=off,-Wall,-Wextra
                      $<$<BOOL:${FASTKMEANS_WERROR}>:-Werror=all-warnings>>)
endfunction()
