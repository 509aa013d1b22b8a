"""The watcher of the weights: the service picks up a new file without a restart.

The watcher polls, because notifications of file systems do not arrive from network drives and many container mounts.
"""

import logging
import os
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

from app.local_backend import LocalBackend
from app.served_net import RefusedFile, ServedNet
from app.service import Service
from app.weights_source import FileState, find_newest
from model.engines.graph_weights import load_any
from model.errors import UserError

log = logging.getLogger(__name__)

_NEVER_SEEN = FileState(Path(), ())


class UnfinishedTraining(UserError):
    """Weights of a training that has not ended."""


class WeightsWatcher:
    """Looks at a weights file or folder every few seconds, and has the service serve the newest file.

    A file is read when two looks in a row find it in the same state, so a file that a program still writes is not read.
    A file that cannot be used changes nothing. It is reported once for each state that it is in.
    """

    def __init__(self, service: Service, source: Path, pause_s: float) -> None:
        """Prepares the watcher; `start` begins.

        Args:
            service: Serves the weights; loaded when the watcher starts.
            source: The file or folder.
            pause_s: Seconds between two looks.
        """
        self._service, self._source, self._pause_s = service, source, pause_s
        self._seen: FileState | None = _NEVER_SEEN  # by the look before
        self._settled: FileState | None = _NEVER_SEEN  # served or refused
        self._former: weakref.ref[ServedNet] | None = None  # until it is freed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weights-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; waits for a net that is being loaded."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Looks once. Serves the newest file if it has changed, and is in the state that the look before found.

        Raises OSError if the file or folder cannot be looked at.
        """
        if self._former and not self._former():
            self._former = None
            self._service.trimmer.trim()
        state = find_newest(self._source)
        is_stable, self._seen = state == self._seen, state
        if not is_stable or state == self._settled:
            return
        if state is not None:
            self._try(state)
        elif self._settled != _NEVER_SEEN:  # a folder that was empty at the start is in order
            self._settled = None
            self._refuse(self._service.net.file, "the file is gone, and there is no other weights file")

    def _run(self) -> None:
        problem = ""
        while not self._stopped.wait(self._pause_s):
            try:
                self.look()
                problem = ""
            except Exception as error:
                if str(error) != problem:  # the same problem is reported once
                    log.exception("no new weights could be looked for")
                problem = str(error)

    def _try(self, state: FileState) -> None:
        """Serves a file, or refuses it. If the file changes meanwhile, a later look tries again."""
        begun = time.perf_counter()
        net, reason, outcome = self._service.net, "", "refused"
        try:
            net = self._load(state.path)
        except UnfinishedTraining as error:
            reason, outcome = str(error), "unfinished"
        except UserError as error:
            reason = str(error).replace(f"{state.path.parent}{os.sep}", "")  # clients see the reason
        except Exception:
            log.exception("no net could be made of new weights")
            reason = "the engine failed on these weights; the log says why"
        if FileState.read(state.path) != state:
            return
        self._settled = state
        if reason:
            self._refuse(state.path.name, reason, outcome)
        else:
            self._serve(net, begun)

    def _load(self, path: Path) -> ServedNet:
        """Returns the net of a file, warm. If the served net has the same weights, only the name of the file changes.

        Raises UserError, RuntimeError.
        """
        served = self._service.net
        weights = load_any(path)
        if weights.sha256 == served.weights.sha256:
            return replace(served, file=path.name)
        if weights.description.is_unfinished:
            raise UnfinishedTraining("the training of these weights has not ended")
        return LocalBackend(self._service.settings, weights, path.name).replace(served)

    def _serve(self, net: ServedNet, begun: float) -> None:
        former = self._service.net
        self._service.refused = None
        self._service.serve(net)
        if net.label == former.label:
            return
        self._former = weakref.ref(former)
        self._service.metrics.weights_changes.labels("served").inc()
        fields = {"file": net.file, "model": net.label, "sha256": net.weights.sha256, "former": former.label}
        taken = {"load_ms": round(1000 * (time.perf_counter() - begun))}
        log.info("weights changed", extra={"fields": fields | taken})

    def _refuse(self, file: str, reason: str, outcome: str = "refused") -> None:
        self._service.refused = RefusedFile(file, reason)
        self._service.metrics.weights_changes.labels(outcome).inc()
        fields = {"file": file, "problem": reason, "served": self._service.net.label}
        level = logging.WARNING if outcome == "refused" else logging.INFO
        log.log(level, "weights stay as they were", extra={"fields": fields})
