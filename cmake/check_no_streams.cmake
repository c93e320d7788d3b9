# SPDX-License-Identifier: Apache-2.0
# Fails if the core uses iostreams or locales: they hold global state, of which a statically linked libstdc++ brings a
# second copy.
#   cmake -DNM=nm -DARCHIVE=libfastkmeans_core.a -P check_no_streams.cmake
execute_process(COMMAND ${NM} --demangle ${ARCHIVE} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
if(NOT symbols MATCHES "fastkmeans::fit")
  message(FATAL_ERROR "${ARCHIVE} is not the core")
endif()
string(REGEX MATCHALL "[^\n]*std::(__cxx11::)?(locale|ios_base|basic_(ios|[io]stream|[a-z]*buf|[a-z]*stream))[^\n]*" streams
       "${symbols}")
if(streams)
  list(JOIN streams "\n  " names)
  message(FATAL_ERROR "${ARCHIVE} uses streams or locales:\n  ${names}")
endif()
