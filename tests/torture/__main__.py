"""`make torture`: attacks the service and the training job for as long as it takes, and prints one table.

Each attack is a module beside this one, with `LONG` (how much of it is asked for here), `SHORT` (how much of it
`make test` can afford) and `attack(count)`, which returns a Verdict.
"""

import argparse
import sys
import time
from importlib import import_module

from tests.torture.verdict import Verdict

ATTACKS = ("images", "forms", "api", "labels", "overload", "drippers", "sigterm", "soak", "training_kills")


def run(name: str, count: int | None = None) -> Verdict:
    """One attack, in its long form unless a count is given."""
    module = import_module(f"tests.torture.{name}")
    verdict: Verdict = module.attack(module.LONG if count is None else count)
    return verdict


def main(argv: list[str] | None = None) -> int:
    """The command; 1 if anything gave way."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("attacks", nargs="*", choices=[*ATTACKS, []], default=ATTACKS, metavar="ATTACK")
    parser.add_argument("--count", type=int, help="as much of each, instead of the long form")
    arguments = parser.parse_args(argv)
    rows, verdicts = ["| attack | done | found | minutes | |", "|---|---|---|---|---|"], []
    for name in arguments.attacks:
        started = time.monotonic()
        verdict = run(name, arguments.count)
        verdicts.append(verdict)
        minutes = (time.monotonic() - started) / 60
        outcome = "held" if verdict.passed else "**GAVE WAY**"
        rows.append(f"| {name} | {verdict.done} | {verdict.found} | {minutes:.1f} | {outcome} |")
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join(rows))
    return int(not all(verdict.passed for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
