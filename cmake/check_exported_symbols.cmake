# SPDX-License-Identifier: Apache-2.0
# Fails if a shared library exports a symbol whose name, demangled, is not one of ours, or none that is.
#   cmake -DNM=nm -DLIBRARY=libfastkmeans.so "-DOURS=regular expression" -P check_exported_symbols.cmake
execute_process(COMMAND ${NM} -D --defined-only --demangle ${LIBRARY} OUTPUT_VARIABLE symbols
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" symbols "${symbols}")
list(TRANSFORM symbols REPLACE "^[0-9a-f]* *[A-Za-z] " "")
set(ours ${symbols})
list(FILTER ours INCLUDE REGEX "${OURS}")
list(FILTER symbols EXCLUDE REGEX "${OURS}")
list(LENGTH symbols strays)
if(strays OR NOT ours)
  list(JOIN symbols "\n  " names)
  string(SUBSTRING "${names}" 0 4000 names)
  message(FATAL_ERROR "${LIBRARY} exports ${strays} symbols that are not ours:\n  ${names}")
endif()
