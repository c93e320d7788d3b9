# SPDX-License-Identifier: Apache-2.0
# The extension module fastkmeans._core and the version file, for scikit-build-core (pyproject.toml).
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
find_package(nanobind CONFIG REQUIRED)

nanobind_add_module(_core NB_STATIC NB_DOMAIN fastkmeans python/bindings.cpp)
target_link_libraries(_core PRIVATE fastkmeans_core fastkmeans_flags)
fastkmeans_exports(_core exports_module.map)
install(TARGETS _core DESTINATION fastkmeans COMPONENT python)

# The wheel may carry another version than the library (cmake/wheel_version.py); Python must see the wheel's.
set(wheel_version "${SKBUILD_PROJECT_VERSION_FULL}")
configure_file(cmake/_version.py.in _version.py @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/_version.py DESTINATION fastkmeans COMPONENT python)
