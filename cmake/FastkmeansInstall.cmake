# SPDX-License-Identifier: Apache-2.0
# Installs the shared library, its headers and what find_package(fastkmeans) reads.
include(CMakePackageConfigHelpers)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fastkmeans)
install(TARGETS fastkmeans EXPORT fastkmeans COMPONENT cpp)
install(DIRECTORY include/fastkmeans DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT cpp)
install(EXPORT fastkmeans FILE fastkmeans-targets.cmake NAMESPACE fastkmeans:: DESTINATION ${config_dir} COMPONENT cpp)

configure_package_config_file(cmake/fastkmeans-config.cmake.in fastkmeans-config.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(fastkmeans-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fastkmeans-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/fastkmeans-config-version.cmake
        DESTINATION ${config_dir} COMPONENT cpp)
