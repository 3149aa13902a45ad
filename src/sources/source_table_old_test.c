#include "sources/source_table.h"

#include "support/source_table_rig.h"

/* The very tables, dates and JSON that SQLAlchemy leaves on SQLite. */
static const char python_schema[] =
    "CREATE TABLE data_source_types (\n\tid INTEGER NOT NULL, \n\tname VARCHAR(50) NOT NULL, \n"
    "\tdisplay_name VARCHAR(100) NOT NULL, \n\tdescription TEXT, \n"
    "\tconnector_class VARCHAR(200) NOT NULL, \n\tconfig_schema JSON NOT NULL, \n"
    "\tenabled BOOLEAN NOT NULL, \n\tcreated_at DATETIME DEFAULT (CURRENT_TIMESTAMP), \n"
    "\tPRIMARY KEY (id)\n);\n"
    "CREATE INDEX ix_data_source_types_id ON data_source_types (id);\n"
    "CREATE UNIQUE INDEX ix_data_source_types_name ON data_source_types (name);\n"
    "CREATE TABLE data_sources (\n\tid INTEGER NOT NULL, \n\tname VARCHAR(200) NOT NULL, \n"
    "\ttype_id INTEGER NOT NULL, \n\tconfig JSON NOT NULL, \n"
    "\tingestion_id VARCHAR(100) NOT NULL, \n\tenabled BOOLEAN NOT NULL, \n"
    "\tstatus VARCHAR(20) NOT NULL, \n\tlast_connection DATETIME, \n\tlast_error TEXT, \n"
    "\tcreated_by VARCHAR(100), \n\tcreated_at DATETIME DEFAULT (CURRENT_TIMESTAMP), \n"
    "\tupdated_at DATETIME DEFAULT (CURRENT_TIMESTAMP), \n\tPRIMARY KEY (id), \n"
    "\tFOREIGN KEY(type_id) REFERENCES data_source_types (id)\n);\n"
    "CREATE INDEX ix_data_sources_id ON data_sources (id);\n"
    "CREATE UNIQUE INDEX ix_data_sources_ingestion_id ON data_sources (ingestion_id);\n"
    "CREATE TABLE data_source_metrics (\n\tid INTEGER NOT NULL, \n"
    "\tdata_source_id INTEGER NOT NULL, \n\tmessages_received INTEGER NOT NULL, \n"
    "\tmessages_processed INTEGER NOT NULL, \n\tlast_processed DATETIME, \n"
    "\tprocessing_latency_ms INTEGER, \n\terror_count INTEGER NOT NULL, \n"
    "\trecorded_at DATETIME DEFAULT (CURRENT_TIMESTAMP), \n\tPRIMARY KEY (id), \n"
    "\tFOREIGN KEY(data_source_id) REFERENCES data_sources (id)\n);\n"
    "CREATE INDEX ix_data_source_metrics_id ON data_source_metrics (id);\n";

/* The same models on PostgreSQL: real dates, booleans and JSON. */
static const char python_schema_postgres[] =
    "CREATE TABLE data_source_types (\n\tid SERIAL NOT NULL, \n\tname VARCHAR(50) NOT NULL, \n"
    "\tdisplay_name VARCHAR(100) NOT NULL, \n\tdescription TEXT, \n"
    "\tconnector_class VARCHAR(200) NOT NULL, \n\tconfig_schema JSON NOT NULL, \n"
    "\tenabled BOOLEAN NOT NULL, \n\tcreated_at TIMESTAMP WITHOUT TIME ZONE DEFAULT now(), \n"
    "\tPRIMARY KEY (id)\n);\n"
    "CREATE INDEX ix_data_source_types_id ON data_source_types (id);\n"
    "CREATE UNIQUE INDEX ix_data_source_types_name ON data_source_types (name);\n"
    "CREATE TABLE data_sources (\n\tid SERIAL NOT NULL, \n\tname VARCHAR(200) NOT NULL, \n"
    "\ttype_id INTEGER NOT NULL, \n\tconfig JSON NOT NULL, \n"
    "\tingestion_id VARCHAR(100) NOT NULL, \n\tenabled BOOLEAN NOT NULL, \n"
    "\tstatus VARCHAR(20) NOT NULL, \n\tlast_connection TIMESTAMP WITH TIME ZONE, \n"
    "\tlast_error TEXT, \n\tcreated_by VARCHAR(100), \n"
    "\tcreated_at TIMESTAMP WITHOUT TIME ZONE DEFAULT now(), \n"
    "\tupdated_at TIMESTAMP WITHOUT TIME ZONE DEFAULT now(), \n\tPRIMARY KEY (id), \n"
    "\tFOREIGN KEY(type_id) REFERENCES data_source_types (id)\n);\n"
    "CREATE INDEX ix_data_sources_id ON data_sources (id);\n"
    "CREATE UNIQUE INDEX ix_data_sources_ingestion_id ON data_sources (ingestion_id);\n"
    "CREATE TABLE data_source_metrics (\n\tid SERIAL NOT NULL, \n"
    "\tdata_source_id INTEGER NOT NULL, \n\tmessages_received INTEGER NOT NULL, \n"
    "\tmessages_processed INTEGER NOT NULL, \n\tlast_processed TIMESTAMP WITH TIME ZONE, \n"
    "\tprocessing_latency_ms INTEGER, \n\terror_count INTEGER NOT NULL, \n"
    "\trecorded_at TIMESTAMP WITH TIME ZONE DEFAULT now(), \n\tPRIMARY KEY (id), \n"
    "\tFOREIGN KEY(data_source_id) REFERENCES data_sources (id)\n);\n"
    "CREATE INDEX ix_data_source_metrics_id ON data_source_metrics (id);\n";

static const char python_rows_postgres[] =
    "INSERT INTO data_source_types VALUES (1, 'mqtt', 'MQTT Broker', 'Old words', "
    "'src.connectors.mqtt_connector.MQTTConnector', '{\"type\": \"object\"}', true, "
    "'2025-03-01 10:00:00'), (2, 'carrier_pigeon', 'Pigeon', NULL, "
    "'src.connectors.pigeon.Pigeon', '{}', true, '2025-03-01 10:00:00');"
    "INSERT INTO data_sources VALUES "
    "(3, 'Local Simulators MQTT', 1, '{\"broker_host\": \"mosquitto\", \"note\": \"\\u00dc\"}', "
    "'5ec7bb57_local_simulators_mqtt_mqtt', true, 'active', '2025-03-01 12:00:01.1234+02', NULL, "
    "'system_auto_register', '2025-03-01 10:00:00', '2025-03-01 10:00:01.5'),"
    "(4, 'pigeon', 2, '{}', 'p', true, 'inactive', NULL, NULL, NULL, NULL, NULL),"
    "(7, 'no object', 1, '[1]', 'a', true, 'inactive', NULL, NULL, NULL, NULL, NULL),"
    "(8, 'no date', 1, '{}', 'd', true, 'inactive', 'infinity', NULL, NULL, NULL, NULL),"
    "(10, 'null', 1, 'null', 'l', false, 'inactive', NULL, 'e', NULL, NULL, NULL);"
    "INSERT INTO data_source_metrics VALUES "
    "(1, 3, 10, 9, '2025-03-01 10:00:00.000001+00', 3, 1, '2025-03-01 10:00:00+00');"
    "SELECT setval('data_source_types_id_seq', 2), setval('data_sources_id_seq', 10), "
    "setval('data_source_metrics_id_seq', 1)";

static const char python_rows[] =
    "PRAGMA foreign_keys = OFF;"
    "INSERT INTO data_source_types VALUES (1, 'mqtt', 'MQTT Broker', 'Old words', "
    "'src.connectors.mqtt_connector.MQTTConnector', '{\"type\": \"object\"}', 1, "
    "'2025-03-01 10:00:00'), (2, 'carrier_pigeon', 'Pigeon', NULL, "
    "'src.connectors.pigeon.Pigeon', '{}', 1, '2025-03-01 10:00:00');"
    "INSERT INTO data_sources VALUES "
    "(3, 'Local Simulators MQTT', 1, '{\"broker_host\": \"mosquitto\", \"broker_port\": 1883, "
    "\"topics\": [\"smartcity/sensors/#\"], \"note\": \"\\u00dc\"}', "
    "'5ec7bb57_local_simulators_mqtt_mqtt', 1, 'active', '2025-03-01 10:00:01.123456', NULL, "
    "'system_auto_register', '2025-03-01 10:00:00', '2025-03-01 10:00:01.123457'),"
    "(4, 'pigeon', 2, '{}', 'p', 1, 'inactive', NULL, NULL, NULL, NULL, NULL),"
    "(5, 'orphan', 99, '{}', 'o', 1, 'inactive', NULL, NULL, NULL, NULL, NULL),"
    "(6, 'no json', 1, '{\"a\": ', 'n', 1, 'inactive', NULL, NULL, NULL, NULL, NULL),"
    "(7, 'no object', 1, '[1]', 'a', 1, 'inactive', NULL, NULL, NULL, NULL, NULL),"
    "(8, 'no date', 1, '{}', 'd', 1, 'inactive', NULL, NULL, NULL, 'yesterday', NULL),"
    "(9, x'ff', 1, '{}', 'u', 1, 'inactive', NULL, NULL, NULL, NULL, NULL),"
    "(10, 'null', 1, 'null', 'l', 0, 'a status of great length', NULL, 'e', NULL, NULL, NULL),"
    "(11, 'flag', 1, '{}', 'f', 'yes', 'inactive', NULL, NULL, NULL, NULL, NULL);"
    "INSERT INTO data_source_metrics VALUES "
    "(1, 3, 10, 9, '2025-03-01 10:00:00.000001', 3, 1, '2025-03-01 10:00:00'),"
    "(2, 3, 11, 9, NULL, NULL, 1, '2025-03-01 10:01:00.000000'),"
    "(3, 77, 1, 1, NULL, NULL, 0, '2025-03-01 10:01:00.000000');"
    "PRAGMA foreign_keys = ON";

static void test_python_database(void **state)
{
    (void)state;
    json_t *rows = NULL;
    exec_ok(python_schema);
    exec_ok(python_rows);
    prepare_ok();
    assert_names("Local Simulators MQTT null");
    assert_string_equal(query_text("SELECT count(*) FROM data_sources"), "9");
    assert_string_equal(query_text("SELECT min(id) * 10 + max(id) FROM data_source_types "
                                   "WHERE name = 'mqtt' OR name = 'carrier_pigeon'"),
                        "12");
    struct source_row row = get_ok(3);
    assert_int_equal(row.last_connection_us, 1740823201123456LL);
    assert_int_equal(row.created_at_us, 1740823200000000LL);
    assert_int_equal(row.updated_at_us, 1740823201123457LL);
    assert_string_equal(json_string_value(json_object_get(row.config, "note")), "Ü");
    assert_int_equal(source_table_update(database, &row, NULL), ERR_OK);
    source_row_fini(&row);
    assert_string_equal(query_text("SELECT config FROM data_sources WHERE id = 3"),
                        "{\"broker_host\": \"mosquitto\", \"broker_port\": 1883, "
                        "\"topics\": [\"smartcity/sensors/#\"], \"note\": \"\\u00dc\"}");
    row = get_ok(10);
    assert_int_equal(json_object_size(row.config), 0);
    assert_string_equal(row.status, "inactive");
    assert_false(row.enabled);
    source_row_fini(&row);
    struct diag diag = {0};
    assert_int_equal(source_table_get(database, 6, &row, &diag), ERR_CORRUPT);
    assert_string_equal(diag.text, "data source 6 cannot be used: its config is no JSON object");
    assert_int_equal(source_table_get(database, 4, &row, NULL), ERR_CORRUPT);
    /* A new source, its metrics, and all of it gone again: no cascade here. */
    int64_t id = insert_ok("new", "new");
    const struct source_metrics_row added = {.data_source_id = id, .recorded_at_us = EARLY_US};
    assert_int_equal(source_table_add_metrics(database, &added, 1, 0, NULL), ERR_OK);
    assert_int_equal(source_table_metrics(database, 3, 0, 10, &rows, NULL), ERR_OK);
    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(rows, 1), "last_processed")),
        "2025-03-01T10:00:00.000001+00:00");
    json_decref(rows);
    assert_int_equal(source_table_delete(database, 3, NULL), ERR_OK);
    assert_int_equal(source_table_delete(database, id, NULL), ERR_OK);
    assert_int_equal(source_table_delete(database, 6, NULL), ERR_OK);
    assert_string_equal(query_text("SELECT count(*) FROM data_source_metrics"), "1");
}

static void test_python_postgres(void **state)
{
    (void)state;
    NEEDS_DATABASE();
    json_t *rows = NULL;
    exec_ok(python_schema_postgres);
    exec_ok(python_rows_postgres);
    prepare_ok();
    assert_names("Local Simulators MQTT null");
    assert_string_equal(query_text("SELECT count(*) FROM data_sources"), "5");
    struct source_row row = get_ok(3);
    assert_true(row.enabled);
    assert_int_equal(row.last_connection_us, 1740823201123400LL);
    assert_int_equal(row.created_at_us, 1740823200000000LL);
    assert_int_equal(row.updated_at_us, 1740823201500000LL);
    assert_string_equal(json_string_value(json_object_get(row.config, "note")), "Ü");
    row.enabled = false;
    assert_int_equal(source_table_update(database, &row, NULL), ERR_OK);
    source_row_fini(&row);
    assert_string_equal(query_text("SELECT config FROM data_sources WHERE id = 3"),
                        "{\"broker_host\": \"mosquitto\", \"note\": \"\\u00dc\"}");
    assert_string_equal(query_text("SELECT enabled FROM data_sources WHERE id = 3"), "0");
    assert_int_equal(source_table_set_status(database, 3, "active", EARLY_US, NULL, NULL), ERR_OK);
    row = get_ok(3);
    assert_int_equal(row.last_connection_us, EARLY_US);
    source_row_fini(&row);
    int64_t id = insert_ok("new", "new");
    const struct source_metrics_row added = {.data_source_id = id,
                                             .messages_received = INT64_MAX,
                                             .processing_latency_ms = 2.75,
                                             .recorded_at_us = EARLY_US};
    assert_int_equal(source_table_add_metrics(database, &added, 1, 0, NULL), ERR_OK);
    assert_int_equal(source_table_metrics(database, 3, 0, 10, &rows, NULL), ERR_OK);
    assert_int_equal(json_array_size(rows), 1);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(rows, 0), "last_processed")),
        "2025-03-01T10:00:00.000001+00:00");
    json_decref(rows);
    assert_int_equal(source_table_delete(database, 3, NULL), ERR_OK);
    assert_int_equal(source_table_delete(database, id, NULL), ERR_OK);
    assert_string_equal(query_text("SELECT count(*) FROM data_source_metrics"), "0");
}

int main(void)
{
    const struct CMUnitTest sqlite_tests[] = {TABLE_TEST(test_python_database)};
    const struct CMUnitTest postgres_tests[] = {TABLE_TEST(test_python_postgres)};
    int failed = cmocka_run_group_tests(sqlite_tests, NULL, NULL);
    return failed + cmocka_run_group_tests(postgres_tests, start_postgres, stop_postgres);
}
