"""docs/connectors/: each type has a page whose configurations are valid and name every option."""

import json
import re
import urllib.request

import pytest
from conftest import PATIENCE_S, ROOT, free_port, wait_until


@pytest.fixture(scope="module")
def pages():
    return {page.stem: page.read_text() for page in (ROOT / "docs/connectors").glob("*.md")}


@pytest.fixture
def service(make_service):
    service = make_service(free_port(), environment={"AUTO_REGISTER": "false"})
    wait_until(lambda: '"data":' in service.get("/api/data-sources/types"), "the API")
    return service


def validate(service, type_name, config):
    wish = {"name": "docs", "type_name": type_name, "config": config}
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}/api/data-sources/validate", json.dumps(wish).encode(),
        {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())["data"]


def test_every_type_has_a_page_with_all_its_options(service, pages):
    types = json.loads(service.get("/api/data-sources/types"))["data"]
    assert {each["name"] for each in types} == set(pages)
    every = (ROOT / "docs/connectors.md").read_text()
    for each in types:
        for option in each["config_schema"]["properties"]:
            assert f"`{option}`" in pages[each["name"]] + every, (each["name"], option)


def test_the_configurations_are_valid(service, pages):
    for type_name, page in pages.items():
        configs = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.S)]
        assert len(configs) == 2, type_name
        for config in configs:
            assert validate(service, type_name, config) == {"valid": True, "errors": []}
        properties = {each["name"]: each for each in json.loads(
            service.get("/api/data-sources/types"))["data"]}[type_name]["config_schema"]["properties"]
        missing = set(properties) - set(configs[1])
        assert missing <= {"auth_token", "api_key_header", "username", "password", "dataset",
                           "dataset_levels", "psk_identity", "psk_key"}, (type_name, missing)
