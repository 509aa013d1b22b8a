"""`python -m training.run --data DIR --out DIR`: turns a folder of images and labels into a weights file."""

import sys

from training.stopping import sigterm_interrupts


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code: 0, 1 if training failed, 2 for bad input, 130 after Ctrl-C or SIGTERM."""
    with sigterm_interrupts():
        try:
            return _run(argv)
        except KeyboardInterrupt:
            print("training: stopped before its first step; nothing is lost", file=sys.stderr)
            return 130


def _run(argv: list[str] | None) -> int:
    # imported here, so that Ctrl-C is answered while they load
    from training.command_line import parse
    from training.data import DataError, load_samples
    from training.inspection import inspect

    arguments = parse(argv)
    try:
        samples = load_samples(arguments.data, arguments.scheme)
        print(*inspect(samples, arguments.labels), sep="\n", flush=True)
        # only now, since torch takes seconds to import and bad data should not
        from training import job

        return job.run(arguments, samples)
    except (DataError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
