import asyncio
import subprocess
import sys

from model.predict.journal import Journal


def test_each_attempt_and_the_outcome_are_remembered():
    async def keep() -> list[tuple[int, bytes | None]]:
        journal = Journal()
        seen = [await journal.history(3)]
        await journal.begin(3)
        await journal.begin(3)
        seen.append(await journal.history(3))
        await journal.end(3, b"done")
        return [*seen, await journal.history(3), await journal.history(4)]

    assert asyncio.run(keep()) == [(0, None), (2, None), (2, b"done"), (0, None)]


def test_all_that_wait_for_a_stop_are_told():
    async def stop() -> list[bool]:
        journal = Journal()
        waiting = [asyncio.ensure_future(journal.stopped()) for _ in range(3)]
        await asyncio.sleep(0)
        before = any(each.done() for each in waiting)
        await journal.stop()
        await asyncio.gather(*waiting, journal.stopped())
        return [before, *(each.done() for each in waiting)]

    assert asyncio.run(stop()) == [False, True, True, True]


def test_its_process_does_not_import_torch():
    command = "import sys, model.predict.journal; print(sorted({'torch', 'numpy', 'cv2'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", command], text=True) == "[]\n"
