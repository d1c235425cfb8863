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

# GGML_CPU_ALL_VARIANTS compiles for ARM's SME, which GCC knows from version 14 on and Debian 12 has
# not. There these variants are compiled like the ones below them, and found no better.
function(without_sme)
    include(CheckCCompilerFlag)
    check_c_compiler_flag(-march=armv9.2-a+sme COMPILER_KNOWS_SME)
    if(COMPILER_KNOWS_SME)
        return()
    endif()
    foreach(target ggml-cpu-armv9.2_1 ggml-cpu-armv9.2_2)
        foreach(part ${target} ${target}-feats)
            if(TARGET ${part})
                get_target_property(options ${part} COMPILE_OPTIONS)
                string(REPLACE "armv9.2-a" "armv8.6-a" options "${options}")
                string(REPLACE "+sme" "" options "${options}")
                get_target_property(definitions ${part} COMPILE_DEFINITIONS)
                list(REMOVE_ITEM definitions GGML_USE_SME)
                set_target_properties(${part} PROPERTIES
                    COMPILE_OPTIONS "${options}" COMPILE_DEFINITIONS "${definitions}")
            endif()
        endforeach()
    endforeach()
endfunction()
cmake_language(DEFER CALL without_sme)
