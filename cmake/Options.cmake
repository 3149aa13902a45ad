# Warnings, hardening and sanitizers, the same for every target.

add_compile_options(
    -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -Wundef
    -Wimplicit-fallthrough -Wdouble-promotion -fno-strict-aliasing
    -fno-omit-frame-pointer -fstack-protector-strong -fstack-clash-protection)
add_compile_definitions(_GNU_SOURCE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    # SSE4.2 (every server since 2009) carries CRC32C and the string scans.
    add_compile_options(-march=x86-64-v2 -fcf-protection)
endif()
add_link_options(-pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)

if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT INGESTOR_SANITIZE)
    add_compile_definitions(_FORTIFY_SOURCE=2)
endif()

# Assertions stay on in release (design: house style), so NDEBUG is never defined.
string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")
string(REPLACE "-O3" "-O2" CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")
string(APPEND CMAKE_C_FLAGS_RELEASE " -g1")

if(INGESTOR_SANITIZE)
    add_compile_options(-fsanitize=${INGESTOR_SANITIZE} -fno-sanitize-recover=all -O1 -g)
    add_link_options(-fsanitize=${INGESTOR_SANITIZE})
endif()
if(INGESTOR_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Fat objects: the program is linked with LTO, the hundred tests, tools and measurements from the
# same objects without, for each LTO link optimises everything again.
if(INGESTOR_LTO)
    add_compile_options(-flto=auto -ffat-lto-objects)
    add_link_options($<IF:$<BOOL:$<TARGET_PROPERTY:INGESTOR_USE_LTO>>,-flto=auto,-fno-lto>)
endif()
