"""Requests made from the OpenAPI document of the service, right ones and wrong ones: each is answered as it says."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok

from model.images.encoding import encode_png
from tests.support.measuring import HOST
from tests.torture.corpus import GREY
from tests.torture.small_service import small_service
from tests.torture.storm import LEAK, SLOW_S
from tests.torture.verdict import Verdict

LONG, SHORT = 1000, 2

# A document cannot say what a good image is, so right requests may be refused.
_UNASKED = [schemathesis.checks.positive_data_acceptance]
_REFUSED = [schemathesis.checks.negative_data_rejection]

# Hypothesis would search for a wrong name, hundreds of times for each operation.
_NAME_IN_PATH = ("path", {"type": "string", "title": "Name"})

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]


@dataclass
class _Tally:
    """`faults`: one for each kind, with the file that says how to ask for it again."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, Path] = field(default_factory=dict)

    def blame(self, case: Case[Any], what: str) -> None:
        kind = f"{case.operation.label} {what}"
        if kind not in self.faults:
            self.faults[kind] = Path(tempfile.mkdtemp(prefix="torture-")) / "request.sh"
            self.faults[kind].write_text(case.as_curl_command(), errors="backslashreplace")


def attack(count: int) -> Verdict:
    """So many requests to each operation, of each of both kinds."""
    good, tally = encode_png(GREY), _Tally()
    with tempfile.TemporaryDirectory() as folder, small_service(labels=folder) as server:
        mask = server.mask(good)
        schema = schemathesis.openapi.from_url(f"http://{HOST}:{server.port}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
        for operation in operations:
            for mode in GenerationMode if _has_wrong_requests(operation) else (GenerationMode.POSITIVE,):
                _try(operation, mode, count, tally)
        same = server.mask(good) == mask
    found = ", ".join(f"{number} x {status}" for status, number in sorted(tally.statuses.items()))
    found += "".join(f"; {what}: {path}" for what, path in tally.faults.items())
    found += "" if same else "; afterwards a good image has another mask"
    return Verdict(
        f"{tally.statuses.total()} requests to {len(operations)} operations", found, same and not tally.faults
    )


def _has_wrong_requests(operation: Operation) -> bool:
    """Returns False if an operation takes only names in its path, because every name is right."""
    places = [(parameter.definition["in"], parameter.definition["schema"]) for parameter in operation.iter_parameters()]
    return bool(operation.body) or any(place != _NAME_IN_PATH for place in places)


def _loses_fault(case: Case[Any]) -> bool:
    """True if the request as sent may be right: a form has no part for an empty list, so its fault is not sent."""
    return isinstance(case.body, dict) and [] in case.body.values()


def _try(operation: Operation, mode: GenerationMode, count: int, tally: _Tally) -> None:
    # no document says which model is served; another name leads no further than the router
    named = {"name": "small-net"} if mode == GenerationMode.POSITIVE and "{name}" in operation.path else None

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode, path_parameters=named))
    def send(case: Case[Any]) -> None:
        response = case.call()
        tally.statuses[response.status_code] += 1
        if LEAK.search(response.content):
            tally.blame(case, "is answered with what is inside")
        if response.elapsed > SLOW_S and case.call().elapsed > SLOW_S:
            tally.blame(case, f"takes more than {SLOW_S} s")
        try:
            case.validate_response(response, excluded_checks=_UNASKED + (_REFUSED if _loses_fault(case) else []))
        except FailureGroup as failures:
            tally.blame(case, f"({response.status_code}) {failures.exceptions[0].title}")

    send()
