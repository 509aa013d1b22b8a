"""`python -m training.run --data DIR --out DIR`: turns a folder of images and labels into a weights file."""

import signal
import sys
from dataclasses import replace

from training.distributed.joining import joined, speaks
from training.distributed.processes import Processes, ProcessLost
from training.loop.clock import Clock
from training.loop.signals import sigterm_interrupts


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, 1 if the training failed, 2 for bad input, 130 after Ctrl-C or SIGTERM."""
    clock = Clock()  # the time of --minutes includes loading
    with sigterm_interrupts():
        try:
            with joined() as processes:
                return _run(argv, processes, clock)
        except KeyboardInterrupt:
            return _ended("stopped before its first step; nothing is lost", 130)
        except ProcessLost as error:
            # torchrun sends SIGTERM to all processes when one has ended, and this process must still report the cause
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            return _ended(f"{error}; --resume continues from the last checkpoint", 1)


def _ended(why: str, code: int) -> int:
    if speaks():
        print(f"training: {why}", file=sys.stderr)
    return code


def _run(argv: list[str] | None, processes: Processes, clock: Clock) -> int:
    # imported here, so that Ctrl-C works while they load
    from training.data.folder import load_data
    from training.data.image_cache import image_cache
    from training.data.image_reader import ImageReader
    from training.data.inspection import inspect
    from training.data.labels.label_options import check_labels
    from training.data_error import DataError
    from training.run.command_line import parse

    options = processes.on_main(lambda: parse(argv))
    try:
        cache = image_cache(options.out, options.image_memory, options.workers, processes)
        reader = ImageReader(options.channel)
        data = processes.each(lambda: load_data(options.data, options.scheme, cache, reader))
        size = reader.pixel_size() if options.pixel_size is None else options.pixel_size
        options = replace(options, scheme=data.scheme, labels=options.labels or data.scheme.names, pixel_size=size)
        check_labels(data.scheme, options.labels, options.objects)
        processes.say(*processes.on_main(lambda: [*inspect(data.samples, options.labels), *data.notes]))
        # imported last: torch takes seconds to import, and errors in the data should be reported before
        from training.run import folds, job

        train = folds.train if options.folds else job.train
        return job.run(options, data.samples, processes, clock, train)
    except (DataError, OSError) as error:
        processes.say(f"training: {error}", file=sys.stderr)
        return 2
