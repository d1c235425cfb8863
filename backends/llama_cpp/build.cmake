# Included by llama-cpp-python's CMake project, by way of CMAKE_PROJECT_llama_cpp_INCLUDE.

# llama.cpp's `common` library is 60 % of the compile and is neither installed nor used. The project
# sets the cache entry ON by force; a normal variable of the same name wins over it (CMP0126).
set(LLAMA_BUILD_COMMON OFF)

# mtmd's 50 small files spend their time on the same headers: compiled by the dozen they take 44
# instead of 80 CPU seconds. Its helpers refuse to be compiled beside internal headers. The calls are
# deferred to the end of the project, when the target exists.
set(_mtmd "${CMAKE_CURRENT_SOURCE_DIR}/vendor/llama.cpp/tools/mtmd")
cmake_language(DEFER CALL
    set_target_properties mtmd PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
cmake_language(DEFER CALL
    set_property SOURCE "${_mtmd}/mtmd-helper.cpp" "${_mtmd}/mtmd-helper-gen.cpp"
    TARGET_DIRECTORY mtmd PROPERTY SKIP_UNITY_BUILD_INCLUSION ON)
