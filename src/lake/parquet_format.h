#pragma once
/* The numbers of parquet.thrift that we write and read. Names as there. */

#define PARQUET_MAGIC       "PAR1"
#define PARQUET_MAGIC_BYTES 4

enum parquet_type {
    PARQUET_TYPE_BOOLEAN = 0,
    PARQUET_TYPE_INT32 = 1, /* other writers' alone, as FLOAT */
    PARQUET_TYPE_INT64 = 2,
    PARQUET_TYPE_FLOAT = 4,
    PARQUET_TYPE_DOUBLE = 5,
    PARQUET_TYPE_BYTE_ARRAY = 6,
};

enum parquet_repetition {
    PARQUET_REQUIRED = 0,
    PARQUET_OPTIONAL = 1,
    PARQUET_REPEATED = 2,
};

enum parquet_converted_type {
    PARQUET_CONVERTED_UTF8 = 0,
    PARQUET_CONVERTED_LIST = 3,
    PARQUET_CONVERTED_TIMESTAMP_MICROS = 10,
    PARQUET_CONVERTED_UINT_8 = 11,
    PARQUET_CONVERTED_UINT_32 = 13,
    PARQUET_CONVERTED_INT_8 = 15,
    PARQUET_CONVERTED_INT_64 = 18,
};

enum parquet_logical_type {
    PARQUET_LOGICAL_STRING = 1,
    PARQUET_LOGICAL_LIST = 3,
    PARQUET_LOGICAL_TIMESTAMP = 8,
    PARQUET_LOGICAL_INTEGER = 10,
    PARQUET_LOGICAL_UNKNOWN = 11, /* a column that never had a value */
};

enum parquet_encoding {
    PARQUET_ENCODING_PLAIN = 0,
    PARQUET_ENCODING_PLAIN_DICTIONARY = 2,
    PARQUET_ENCODING_RLE = 3,
    PARQUET_ENCODING_RLE_DICTIONARY = 8,
};

enum parquet_page_type {
    PARQUET_PAGE_DATA = 0,
    PARQUET_PAGE_DICTIONARY = 2,
};

enum parquet_compression_codec {
    PARQUET_CODEC_UNCOMPRESSED = 0,
    PARQUET_CODEC_SNAPPY = 1,
    PARQUET_CODEC_ZSTD = 6,
    PARQUET_CODEC_LZ4_RAW = 7,
};

enum parquet_boundary_order {
    PARQUET_UNORDERED = 0,
    PARQUET_ASCENDING = 1,
    PARQUET_DESCENDING = 2,
};
