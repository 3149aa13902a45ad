# Sourced by test.sh and .ci/run: runs things and adds up their totals.
passed=0
failed=0
skipped=0

# add PASSED FAILED SKIPPED
add() {
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + $3))
}

# One thing that passes or fails as a whole: step "what" command …
step() {
    local what=$1
    shift
    local start=$SECONDS
    if "$@"; then
        add 1 0 0
        echo "-- passed: $what ($((SECONDS - start)) s)"
    else
        add 0 1 0
        echo "-- FAILED: $what ($((SECONDS - start)) s)"
        return 1
    fi
}

# Every cmocka program counts its own tests; a failed one that names none (a crash, a leak, a plain
# main) is one failure: unit_tests BUILD-FOLDER [LABEL]
unit_tests() {
    local log status ok bad none programs
    log=$(mktemp)
    ctest --test-dir "$1" -L "${2:-unit}" -j "$(nproc)" --output-on-failure --timeout 600 -V >"$log" 2>&1
    status=$?
    read -r ok bad none programs < <(count_cmocka "$log")
    if [ "$programs" -eq 0 ]; then
        echo "unit tests of $1: ctest found none"
        bad=1
    fi
    [ $status -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    add "$ok" "$bad" "$none"
    echo "-- unit tests of $1: $ok passed, $bad failed, $none skipped in $programs programs"
    if [ "$bad" -gt 0 ]; then
        grep -E '^[0-9]+: .*(ERROR|LINE|FAILED|Sanitizer|runtime error|SUMMARY)' "$log" | head -60
        sed -n '/The following tests FAILED/,$p' "$log"
    fi
    rm -f "$log"
}

# PASSED FAILED SKIPPED PROGRAMS of a ctest -V log. cmocka names each failed or skipped test twice,
# when it happens and in the list at the end; ctest lists the programs that failed.
count_cmocka() {
    awk '
        /^[0-9]+: \[       OK \]/ { ok++ }
        /^[0-9]+: \[  FAILED  \]/ && !/test\(s\)/ { bad[$1 + 0]++ }
        /^[0-9]+: \[  SKIPPED \]/ && !/test\(s\)/ { none++ }
        /^[ \t]*[0-9]+\/[0-9]+ Test +#[0-9]+:/ { programs++ }
        /^The following tests FAILED/ { listed = 1; next }
        listed && /^[ \t]*[0-9]+ - / { failed[$1 + 0] = 1 }
        END {
            for (program in bad)
                failed[program] = 1
            for (program in failed)
                sum += bad[program] >= 2 ? int(bad[program] / 2) : 1
            print ok + 0, sum + 0, int(none / 2), programs + 0
        }' "$1"
}

# Steps side by side, as many as there are cores, behind whatever else runs (at the lowest priority):
#   step_later "what" command …   (as often as wanted)   then   steps_begin, … and steps_end
# steps_end waits for them and tells what they printed.
later=() steps_folder="" steps_pid=""
step_later() {
    later+=("$(printf '%q ' "$@")")
}

steps_begin() {
    steps_folder=$(mktemp -d)
    steps_work </dev/null >/dev/null 2>&1 &
    steps_pid=$!
}

steps_work() {
    local i running=0
    renice -n 19 "$BASHPID"
    for i in "${!later[@]}"; do
        if [ $running -ge "$(nproc)" ]; then
            wait -n
            running=$((running - 1))
        fi
        {
            passed=0 failed=0 skipped=0
            eval "step ${later[$i]}" >"$steps_folder/$i.log" 2>&1 </dev/null
            echo "$passed $failed $skipped" >"$steps_folder/$i.totals"
        } &
        running=$((running + 1))
    done
    wait
}

steps_end() {
    local i
    wait "$steps_pid"
    for i in "${!later[@]}"; do
        local totals
        cat "$steps_folder/$i.log"
        if read -r -a totals <"$steps_folder/$i.totals"; then
            add "${totals[@]}"
        else
            add 0 1 0 # killed before it could say
        fi
    done
    later=()
    rm -rf "$steps_folder"
}

# integration_tests [pytest arguments]: what tests/integration holds, against build/ingestor. File by
# file, three for two cores: they wait more than they work.
integration_tests() {
    local tools=${INGESTOR_TOOLS:-$HOME/.cache/ingestor-tools} log line status
    ls tests/integration/test_*.py >/dev/null 2>&1 || return 0
    log=$(mktemp)
    INGESTOR_TOOLS=$tools "$tools/venv/bin/python" -m pytest -q -rs --color=no --durations=15 \
        --durations-min=5 -n "$(($(nproc) * 3 / 2))" --no-loadscope-reorder --dist loadfile \
        tests/integration "$@" 2>&1 </dev/null | tee "$log"
    status=${PIPESTATUS[0]}
    line=$(grep -E '(passed|failed|error|skipped).* in [0-9.]+' "$log" | tail -1)
    count() { sed -nE "s/(^|.*[ =])([0-9]+) $1.*/\2/p" <<<"$line" | head -1; }
    local ok bad errors none
    ok=$(count passed) bad=$(count failed) errors=$(count 'errors?') none=$(count skipped)
    bad=$((${bad:-0} + ${errors:-0}))
    [ "$status" -eq 0 ] || [ $bad -gt 0 ] || bad=1
    add "${ok:-0}" "$bad" "${none:-0}"
    rm -f "$log"
}

# What a command that ends with totals found: add_totals LOG STATUS. Its line is the last that looks
# like totals, for make says its own error after it; a failure without one counts all the same.
add_totals() {
    local line
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$1" | tail -n 1)
    if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        add "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[4]:-0}"
        [ "$2" -eq 0 ] || [ "${BASH_REMATCH[2]}" -gt 0 ] || add 0 1 0
    else
        add 0 1 0
        echo "-- FAILED: no totals in what ended with: $(tail -n 1 "$1")"
    fi
}

# The last line, and the exit code.
totals() {
    if [ $skipped -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [ $failed -eq 0 ]
}
