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

# Every cmocka program counts its own tests; one that reports none (a crash, a plain main) is one
# test: unit_tests BUILD-FOLDER
unit_tests() {
    local log before_failed=$failed
    log=$(mktemp)
    ctest --test-dir "$1" -L unit -j "$(nproc)" --output-on-failure --timeout 600 -V >"$log" 2>&1
    local status=$?
    local ok bad none programs programs_failed
    ok=$(grep -cE '^[0-9]+: \[       OK \]' "$log")
    bad=$(grep -cE '^[0-9]+: \[  FAILED  \] [^0-9]*$' "$log")
    none=$(grep -cE '^[0-9]+: \[  SKIPPED \] [^0-9]*$' "$log")
    programs=$(sed -nE 's/.*tests failed out of ([0-9]+)/\1/p' "$log" | tail -1)
    programs_failed=$(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed.*/\1/p' "$log" | tail -1)
    # cmocka names each failed or skipped test twice, once when it happens and once in the list.
    bad=$((bad / 2))
    none=$((none / 2))
    if [ -z "$programs" ] || [ "$programs" -eq 0 ]; then
        echo "unit tests of $1: ctest found none"
        bad=1
    elif [ "${programs_failed:-1}" -gt 0 ] && [ "$bad" -eq 0 ]; then
        bad=$programs_failed # crashed, timed out, leaked
    fi
    add "$ok" "$bad" "$none"
    echo "-- unit tests of $1: $ok passed, $bad failed, $none skipped in ${programs:-0} programs"
    if [ $status -ne 0 ] || [ "$bad" -gt 0 ]; then
        [ "$failed" -gt "$before_failed" ] || add 0 1 0
        grep -E '^[0-9]+: .*(ERROR|LINE|FAILED|Sanitizer|runtime error|SUMMARY)' "$log" | head -60
        sed -n '/The following tests FAILED/,$p' "$log"
    fi
    rm -f "$log"
}

# integration_tests [pytest arguments]: what tests/integration holds, against build/ingestor
integration_tests() {
    local tools=${INGESTOR_TOOLS:-$HOME/.cache/ingestor-tools} log line status
    ls tests/integration/test_*.py >/dev/null 2>&1 || return 0
    log=$(mktemp)
    INGESTOR_TOOLS=$tools "$tools/venv/bin/python" -m pytest -q -rs --color=no tests/integration \
        "$@" 2>&1 </dev/null | tee "$log"
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

# The last line, and the exit code.
totals() {
    if [ $skipped -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [ $failed -eq 0 ]
}
