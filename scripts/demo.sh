#!/bin/bash
# make demo: a broker, a city of simulated sensors that publish to it, more of them to observe over
# CoAP, and the service, all on this machine, until Ctrl-C. Installs and builds what is missing.
# Everything it writes is under ./data; a second run goes on where the first one ended.
#
# DEMO_SECONDS=60 ends by itself; DEMO_RATE=200 messages a second over MQTT and DEMO_COAP_RATE=20 over
# CoAP; DEMO_INSTALL=0 installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

rate=${DEMO_RATE:-200}
coap_rate=${DEMO_COAP_RATE:-20}
coap_sensors=16 # enough for each of their formats
seconds=${DEMO_SECONDS:-0}
demo=data/demo
pids=()

say() {
    printf '%s\n' "$@"
}

# Children live in sessions of their own, so that Ctrl-C reaches them through stop alone, in order,
# and once; should this shell be killed, the kernel ends them.
launch() {
    local log=$1
    shift
    setpriv --pdeathsig TERM -- setsid -- "$@" >"$log" 2>&1 </dev/null &
    pids+=($!)
}

stop() {
    trap '' INT TERM HUP
    [ ${#pids[@]} -eq 0 ] || say "" "Stopping: the service writes what it holds …"
    # The last one started ends first: publishing sensors, service, observed sensors, broker.
    local i
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    pids=()
}

finish() {
    local status=$?
    stop
    exit $status
}
trap finish EXIT
trap 'exit 0' INT TERM HUP

is_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 30000))
        is_open $port || {
            echo $port
            return
        }
    done
    return 1
}

# The port of the last run if it is free, so that a bookmark of it stays good.
choose_broker_port() {
    broker_port=$(cat $demo/broker-port 2>/dev/null || true)
    if [ -z "$broker_port" ] || is_open "$broker_port"; then
        broker_port=$(free_port)
        echo "$broker_port" >$demo/broker-port
    fi
}

wait_for_port() {
    local port=$1 pid=$2 what=$3 log=$4
    for _ in $(seq 100); do
        is_open "$port" && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    say "$what did not start; its log, $log, ends:" >&2
    tail -n 20 "$log" >&2
    exit 1
}

start_broker() {
    local broker
    broker=$(command -v mosquitto || echo /usr/sbin/mosquitto)
    # Mosquitto's defaults drop what a subscriber does not take fast enough: lift them. It keeps
    # its user: one that changes it would outlive this shell.
    cat >$demo/mosquitto.conf <<CONF
listener $broker_port 127.0.0.1
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
user $(id -un)
CONF
    launch $demo/mosquitto.log "$broker" -c $demo/mosquitto.conf
    wait_for_port "$broker_port" "${pids[-1]}" "The broker" $demo/mosquitto.log
}

# On the port of the last run if it is free, else on any that is; the log names it. The service knows
# the sensors by its configuration file.
start_coap_sensors() {
    local log=$demo/simulate-coap.log wanted
    for wanted in "$(cat $demo/coap-port 2>/dev/null || echo 0)" 0; do
        : >$log # launch does so too late: the last run's port is not this one's
        launch $log build/ingestor simulate --coap-port "$wanted" --sensors $coap_sensors \
            --rate "$coap_rate"
        for _ in $(seq 100); do
            coap_port=$(sed -nE 's|.*coap://127\.0\.0\.1:([0-9]+)/.*|\1|p' $log 2>/dev/null || true)
            [ -z "$coap_port" ] || break 2
            kill -0 "${pids[-1]}" 2>/dev/null || break
            sleep 0.1
        done
        unset 'pids[-1]'
    done
    [ -n "$coap_port" ] || {
        say "The CoAP sensors did not start; their log, $log, ends:" >&2
        tail -n 20 $log >&2
        exit 1
    }
    echo "$coap_port" >$demo/coap-port
    cat >$demo/ingestor.yaml <<YAML
sources:
- name: CoAP city
  type_name: coap
  config: {host: 127.0.0.1, port: $coap_port, resources: [/smartcity/*], discover: true}
YAML
}

start_service() {
    api_port=8001
    ! is_open $api_port || api_port=$(free_port)
    launch $demo/ingestor.log env HOST=127.0.0.1 PORT="$api_port" \
        MQTT_BROKER=127.0.0.1 MQTT_PORT="$broker_port" MQTT_TOPIC='smartcity/sensors/#' \
        OBJECT_STORE_URL=file://./data/lake JOURNAL_DIR=./data/journal \
        METADATA_DB_PATH=./data/metadata.db INGESTOR_DATABASE_URL=sqlite:///./$demo/ingestor.db \
        FLUSH_INTERVAL_SECONDS=5 LOG_FORMAT=text build/ingestor serve --config $demo/ingestor.yaml
    wait_for_port "$api_port" "${pids[-1]}" "The service" $demo/ingestor.log
    service_pid=${pids[-1]}
}

start_simulator() {
    launch $demo/simulate.log build/ingestor simulate --broker 127.0.0.1 --port "$broker_port" \
        --rate "$rate"
}

# A page of the service; empty when it does not answer.
page() {
    curl -s -m 2 "http://127.0.0.1:$api_port$1" || true
}

# How many messages have come from sources of a type.
received() {
    awk -v type="source_type=\"$1\"" 'index($1, "ingestor_messages_received_total{") == 1 && index($0, type) {
        sum += $NF } END { printf "%d", sum }' <<<"$metrics"
}

show() {
    local metrics health status mqtt coap files size now elapsed_us
    metrics=$(page /metrics)
    health=$(page /api/health)
    status=$(sed -nE 's/^[^{]*\{[^{]*"status": *"([a-z]+)".*/\1/p' <<<"${health//$'\n'/ }")
    mqtt=$(received mqtt)
    coap=$(received coap)
    files=$(find data/lake -name '*.parquet' 2>/dev/null | wc -l)
    size=$(du -sk data/lake 2>/dev/null | cut -f1)
    now=${EPOCHREALTIME/[.,]/}
    elapsed_us=$((now - before_us))
    printf -v live '%s  %-9s received: MQTT %d (%d/s), CoAP %d (%d/s)  in the lake: %d files, %d KiB' \
        "$(date +%T)" "${status:-starting}" "$mqtt" $(((mqtt - mqtt_before) * 1000000 / elapsed_us)) \
        "$coap" $(((coap - coap_before) * 1000000 / elapsed_us)) "$files" "${size:-0}"
    mqtt_before=$mqtt
    coap_before=$coap
    before_us=$now
}

query="duckdb -c \"SELECT source_type, count(DISTINCT ingestion_id) AS datasets, count(*) AS rows, max(timestamp) AS newest FROM read_parquet('data/lake/bronze/ingestion_id=*/*/*/*.parquet', hive_partitioning=true, union_by_name=true) GROUP BY ALL ORDER BY rows DESC\""

[ "${DEMO_INSTALL:-1}" = 0 ] || scripts/install-packages.sh demo
say "Building …"
make -s all
mkdir -p $demo
choose_broker_port
start_broker
start_coap_sensors
start_service
start_simulator
say "" \
    "Broker     mqtt://127.0.0.1:$broker_port    $rate messages a second on smartcity/sensors/#" \
    "Sensors    coap://127.0.0.1:$coap_port/    $coap_sensors to observe, $coap_rate readings a second" \
    "Service    http://127.0.0.1:$api_port/api/health   its log: $demo/ingestor.log" \
    "Lake       data/lake                  Ctrl-C ends all of them" ""

mqtt_before=0
coap_before=0
before_us=${EPOCHREALTIME/[.,]/}
shown=0
while kill -0 "$service_pid" 2>/dev/null; do
    show
    if [ -t 1 ]; then
        # The live line and the query, drawn over themselves.
        [ $shown -eq 0 ] || printf '\0338'
        printf '\0337\033[J%s\n\n%s\n' "$live" "$query"
    else
        say "$live"
        [ $((shown % 10)) -ne 9 ] || say "$query"
    fi
    shown=$((shown + 1))
    [ "$seconds" -eq 0 ] || [ $((shown * 2)) -lt "$seconds" ] || {
        stop
        say "$query"
        exit 0
    }
    sleep 2
done
say "The service ended; its log, $demo/ingestor.log, ends:" >&2
tail -n 20 $demo/ingestor.log >&2
exit 1
