"""The API fuzzed from its own document, by schemathesis against the live service: no answer that the
document does not name, no shape it does not describe, no crash, no 5xx but those of a start that
fails and of a push to what is stopped. INGESTOR_SCHEMATHESIS_SECONDS says how long."""

import os
import re
import subprocess

import pytest
from conftest import find_tool, free_port
from test_data_sources_api import QUIET, Api

SECONDS = int(os.environ.get("INGESTOR_SCHEMATHESIS_SECONDS", "40"))
# Valid by the schema and refused all the same: numbers beyond 64 bits, configurations that break
# their type's own schema (contract/http-api.md). A stream never ends, so it is not called.
CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance," \
         "negative_data_rejection,unsupported_method,use_after_free"
# A push to a source that another call has stopped just now is refused with 503, as it should be.
MAY_FAIL = re.compile(r"POST /api/data-sources/[^/ ]+/(start|restart) 500 |POST /api/ingest/[^/ ]+ 503 ")


@pytest.fixture
def api(make_service):
    service = make_service(free_port(), environment=QUIET)
    api = Api(service)
    api.wait_ready()
    return api


def test_the_document_holds(api):
    api.create("Push", "http_push", {})
    began = len(api.service.log().splitlines())  # while it starts, the fixture is told to wait
    url = f"http://127.0.0.1:{api.service.port}"
    run = subprocess.run(
        [find_tool("schemathesis"), "run", f"{url}/openapi.json", "--url", url, "--no-color",
         "--checks", CHECKS, "--phases", "examples,coverage,fuzzing,stateful",
         "--exclude-path", "/api/stream", "--generation-allow-x00", "false",
         "--max-time", str(SECONDS), "--request-timeout", "30", "--continue-on-failure",
         "--suppress-health-check", "all"],
        capture_output=True, text=True, timeout=SECONDS * 4 + 120, check=False,
        cwd=api.service.folder)
    print(run.stdout[-20000:], run.stderr[-2000:])
    assert run.returncode == 0, run.stdout[-8000:]
    assert re.search(r"(\d+) generated", run.stdout), run.stdout[-2000:]
    assert api.service.alive()
    unexpected = [line for line in api.service.log().splitlines()[began:]
                  if re.search(r'"message":"[A-Z]+ \S+ 5\d\d ', line) and not MAY_FAIL.search(line)]
    assert not unexpected, unexpected[:10]
