# tests/support is the library that tests share (simulated disk, fake clock, …).
file(GLOB support_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/support/*.c)
set(test_libraries PkgConfig::CMOCKA)
if(support_sources)
    add_library(test_support STATIC ${support_sources})
    target_include_directories(test_support PUBLIC ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(test_support PUBLIC ${layers_through_journal})
    list(APPEND test_libraries test_support)
endif()

function(add_ingestor_program name source layer)
    add_executable(${name} ${source})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests
        ${CMAKE_BINARY_DIR}/generated)
    target_link_libraries(${name} PRIVATE ${test_libraries} ${layers_through_${layer}}
        PkgConfig::LIBS Threads::Threads m)
endfunction()

# Unit tests beside their module: src/layer/x_test.c, linked with its layer and those before it. The
# label "threaded" is for ThreadSanitizer: it finds nothing in the lower layers' modules that neither
# start threads nor share with them.
add_custom_target(unit_programs)
function(label_unit_test target layer source)
    string(REGEX REPLACE "_test\\.c$" "" module ${source})
    set(threaded threaded)
    if(layer MATCHES "^(base|codec|lake)$")
        set(threaded "")
        foreach(file ${source} ${module}.c ${module}.h)
            if(EXISTS ${file})
                file(STRINGS ${file} shared REGEX "thread_|mutex_|condition_|_Atomic|atomic_|_Thread_local")
                if(shared)
                    set(threaded threaded)
                endif()
            endif()
        endforeach()
    endif()
    set_tests_properties(${target} PROPERTIES LABELS "unit;${threaded}" TIMEOUT 300)
    add_dependencies(unit_programs ${target})
endfunction()

foreach(layer ${INGESTOR_LAYERS})
    file(GLOB unit_tests CONFIGURE_DEPENDS
        ${CMAKE_SOURCE_DIR}/src/${layer}/*_test.c ${CMAKE_SOURCE_DIR}/src/${layer}/*/*_test.c)
    foreach(source ${unit_tests})
        get_filename_component(name ${source} NAME_WE)
        set(target ${layer}_${name})
        add_ingestor_program(${target} ${source} ${layer})
        add_test(NAME ${target} COMMAND ${target})
        label_unit_test(${target} ${layer} ${source})
        set_tests_properties(${target} PROPERTIES ENVIRONMENT
            "INGESTOR_SHARED_DATA=${CMAKE_SOURCE_DIR}/../shared/data;INGESTOR_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
    endforeach()
endforeach()

# The connectors of examples/ as if they lay in src/connectors: the program, and the suite that every
# connector must pass, with a registry whose list has them.
if(NOT INGESTOR_EXAMPLES)
    write_connector_list(${CMAKE_BINARY_DIR}/generated-examples/connector_list.h
        ${CMAKE_SOURCE_DIR}/src/connectors ${CMAKE_SOURCE_DIR}/examples)
    add_library(example_registry OBJECT src/connectors/registry.c ${example_connectors})
    target_include_directories(example_registry PRIVATE ${CMAKE_BINARY_DIR}/generated-examples
        ${CMAKE_SOURCE_DIR}/src ${CMAKE_BINARY_DIR}/generated)
    target_link_libraries(example_registry PRIVATE PkgConfig::LIBS)
    add_ingestor_program(ingestor_with_examples src/app/main.c app)
    target_link_libraries(ingestor_with_examples PRIVATE example_registry)
    add_ingestor_program(examples_conformance_test src/sources/source_conformance_test.c sources)
    target_link_libraries(examples_conformance_test PRIVATE example_registry)
    add_test(NAME examples_conformance_test COMMAND examples_conformance_test)
    set_tests_properties(examples_conformance_test PROPERTIES LABELS "unit;threaded" TIMEOUT 300)
    add_dependencies(unit_programs examples_conformance_test)
endif()

# Fault and crash runs: programs that take a count of seeds; ctest runs a short round of each.
file(GLOB fault_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/faults/*_faults.c)
add_custom_target(fault_programs)
foreach(source ${fault_sources})
    get_filename_component(name ${source} NAME_WE)
    add_ingestor_program(${name} ${source} app)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS faults TIMEOUT 600)
    add_dependencies(fault_programs ${name})
endforeach()

# Test tools (the scripted broker, …) and measurements: programs, not tests.
file(GLOB tool_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/tools/*.c
    ${CMAKE_SOURCE_DIR}/bench/*_bench.c ${CMAKE_SOURCE_DIR}/bench/*_flood.c)
foreach(source ${tool_sources})
    get_filename_component(name ${source} NAME_WE)
    add_ingestor_program(${name} ${source} app)
endforeach()

# Libraries that a test preloads under the service (LD_PRELOAD), to bend what the system tells it.
file(GLOB preload_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/preload/*.c)
foreach(source ${preload_sources})
    get_filename_component(name ${source} NAME_WE)
    add_library(${name} MODULE ${source})
    set_target_properties(${name} PROPERTIES PREFIX "")
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
endforeach()

if(INGESTOR_FUZZ)
    add_custom_target(fuzz_programs)
    file(GLOB fuzz_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/*_fuzz.c)
    foreach(source ${fuzz_sources})
        get_filename_component(name ${source} NAME_WE)
        add_ingestor_program(${name} ${source} app)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        add_dependencies(fuzz_programs ${name})
    endforeach()
endif()
