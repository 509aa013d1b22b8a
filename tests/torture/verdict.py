"""What came of an attack."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """`done`: what was done, in numbers. `found`: what was measured, against what is asked."""

    done: str
    found: str
    passed: bool
