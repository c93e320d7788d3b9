# SPDX-License-Identifier: Apache-2.0
# Fails if an object compiled for one instruction set defines a weak symbol. The linker keeps one copy of an inline
# function for everybody; were it the AVX one, an older CPU would meet an illegal instruction in ordinary code.
#   cmake -DNM=nm "-DOBJECTS=a.o|b.o" -P check_weak_symbols.cmake
string(REPLACE "|" ";" objects "${OBJECTS}")
if(NOT objects)
  message(FATAL_ERROR "no object to check")
endif()
foreach(object IN LISTS objects)
  execute_process(COMMAND ${NM} --defined-only --demangle ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  # DW.ref.* are pointers to the exception personality: data, the same in every object.
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" weak "${symbols}")
  list(FILTER weak EXCLUDE REGEX "DW\\.ref\\.")
  if(weak)
    list(JOIN weak "\n  " weak)
    message(FATAL_ERROR "${object} defines weak symbols:\n  ${weak}")
  endif()
endforeach()
