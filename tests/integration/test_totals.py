"""scripts/totals.sh: no failure gets lost on the way to the last line."""

import subprocess

import pytest

from conftest import ROOT

CTEST = """\
1: [==========] Running 3 test(s).
1: [ RUN      ] test_one
1: [       OK ] test_one
1: [ RUN      ] test_3_1_1
1: [  FAILED  ] test_3_1_1
1: [ RUN      ] test_other
1: [  SKIPPED ] test_other
1: [==========] 3 test(s) run.
1: [  PASSED  ] 1 test(s).
1: [  SKIPPED ] 1 test(s), listed below:
1: [  SKIPPED ] test_other
1: [  FAILED  ] 1 test(s), listed below:
1: [  FAILED  ] test_3_1_1
1/2 Test #1: base_a_test ......................***Failed    0.01 sec
2: [ RUN      ] test_crash
2/2 Test #2: base_b_test ......................***Exception: SegFault  0.01 sec

0% tests passed, 2 tests failed out of 2

The following tests FAILED:
\t  1 - base_a_test (Failed)
\t  2 - base_b_test (SEGFAULT)
"""


def run(script, log, tmp_path):
    path = tmp_path / "log"
    path.write_text(log)
    return subprocess.run(["bash", "-c", f'. "$1"/scripts/totals.sh; {script}', "bash", ROOT, path],
                          capture_output=True, text=True, check=False)


def test_a_crash_beside_a_failed_test_counts(tmp_path):
    assert run('count_cmocka "$2"', CTEST, tmp_path).stdout.split() == ["1", "2", "1", "2"]


def test_no_programs_count_none(tmp_path):
    assert run('count_cmocka "$2"', "No tests were found!!!\n", tmp_path).stdout.split() == ["0"] * 4


@pytest.mark.parametrize("log,status,last", [
    ("5 passed, 0 failed\n", 0, "5 passed, 0 failed"),
    ("5 passed, 1 failed, 2 skipped\nmake: *** [Makefile:20: test] Error 1\n", 2,
     "5 passed, 1 failed, 2 skipped"),
    ("5 passed, 0 failed\nmake: *** [Makefile:20: test] Error 1\n", 2, "5 passed, 1 failed"),
    ("make: *** No rule to make target 'test'.  Stop.\n", 2, "0 passed, 1 failed"),
    ("", 0, "0 passed, 1 failed"),
    ("3 passed, 1 failed\n4 passed, 0 failed\n", 0, "4 passed, 0 failed"),
])
def test_totals_of_a_command(tmp_path, log, status, last):
    done = run(f'add_totals "$2" {status}; totals', log, tmp_path)
    assert done.stdout.splitlines()[-1] == last
    assert (done.returncode == 0) == (", 0 failed" in last)


def test_steps_side_by_side_are_all_counted(tmp_path):
    done = run('bad() { return 1; }; step_later "two words" test "a b" = "a b"; step_later bad bad; '
               'for i in 1 2 3; do step_later "$i" true; done; '
               'step_later killed bash -c "kill -9 \\$PPID"; steps_begin; steps_end; totals', "", tmp_path)
    assert done.stdout.splitlines()[-1] == "4 passed, 2 failed" and done.returncode == 1
    assert "-- FAILED: bad" in done.stdout and "-- passed: two words" in done.stdout
