# Everything comes from the distribution's packages, through pkg-config.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

pkg_check_modules(LIBS REQUIRED IMPORTED_TARGET
    libuv libcurl libmicrohttpd jansson yaml-0.1 sqlite3 libpq libzstd snappy liblz4 zlib libcrypto libssl
    libxxhash libpcre2-8 libcoap-3-openssl)
if(INGESTOR_TESTS)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
