"""The watcher of the weights: the service picks up new files without a restart.

The watcher polls, because notifications of file systems do not arrive from network drives and many container mounts.
"""

import logging
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from app.local_backend import LocalBackend, bundled_states, read_net, refuse
from app.net_file import NetFile
from app.served_net import RefusedFile, ServedNet
from app.served_nets import ServedNets, with_former_default
from app.service import Service
from app.weights_source import FileState, list_states
from model.errors import UserError

log = logging.getLogger(__name__)

UNFINISHED = "the training of these weights has not ended"


@dataclass(frozen=True)
class _Unfinished:
    """Weights of a training that has not ended."""

    refused: RefusedFile


_Known: TypeAlias = NetFile | RefusedFile | _Unfinished
"""What is known of a file in one state."""


class WeightsWatcher:
    """Looks at a weights file or folder every few seconds, and has the service serve the nets that it finds.

    A file is read when two looks in a row find it in the same state, so a file that a program still writes is not read.
    Of several files with nets of one name, the newest counts. A file that cannot be used changes nothing: the service
    keeps the net that it has of that file. It is reported once for each state that it is in.
    """

    def __init__(self, service: Service, backend: LocalBackend, source: Path, pause_s: float) -> None:
        """Prepares the watcher; `start` begins.

        Args:
            service: Serves the nets; loaded when the watcher starts.
            backend: Loads the nets.
            source: The file or folder.
            pause_s: Seconds between two looks.
        """
        self._service, self._backend, self._source, self._pause_s = service, backend, source, pause_s
        self._seen: list[FileState] = []  # by the look before
        self._known: dict[FileState, _Known] = {}
        self._reported: tuple[RefusedFile, ...] = ()
        self._dropped: list[weakref.ref[ServedNet]] = []  # until they are freed
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
        """Looks once. Serves what has changed and is in the state that the look before found.

        Raises OSError if the file or folder cannot be looked at.
        """
        self._trim()
        states = list_states(self._source)
        before, self._seen = self._seen, states
        self._known = {state: known for state, known in self._known.items() if state in states}
        for state in states:
            if state in before and state not in self._known:
                self._read(state)
        self._serve(states)
        self._report(states)

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

    def _read(self, state: FileState) -> None:
        """Reads a file. If the file changes meanwhile, a later look reads it again."""
        known: _Known
        try:
            known = read_net(state, self._service.settings).file
        except UserError as error:
            known = refuse(state, error)
        else:
            if known.weights.description.is_unfinished and not self._is_served(known):
                known = _Unfinished(RefusedFile(state.path.name, UNFINISHED))
        self._settle(state, known)

    def _is_served(self, file: NetFile) -> bool:
        return any(net.weights.sha256 == file.weights.sha256 for net in self._service.nets)

    def _settle(self, state: FileState, known: _Known) -> None:
        if FileState.read(state.path) == state:
            self._known[state] = known

    def _serve(self, states: list[FileState]) -> None:
        """Makes the nets of the files the served ones."""
        if not states:  # the nets stay
            return
        former = self._service.nets
        wanted = self._wanted(states)
        served = ServedNets(net for net in map(self._ready, wanted) if net is not None)
        if [*served] == [*former] or not len(served):
            return
        served = with_former_default(served, former)
        self._service.serve(served)
        for net in former:
            if served.get(net.description.name) is None:
                log.info("net removed", extra={"fields": {"file": net.file, "model": net.label}})
        self._drop([net for net in former if net.scheduler not in [kept.scheduler for kept in served]])

    def _wanted(self, states: list[FileState]) -> list[NetFile | ServedNet]:
        """Returns the newest file of each name, or the served net of a file that cannot be used now, newest first."""
        wanted: dict[str, NetFile | ServedNet] = {}
        for state in states:
            known = self._known.get(state)
            if isinstance(known, NetFile):
                wanted.setdefault(known.weights.description.name, known)
            else:
                for net in self._service.nets:
                    if self._backend.file_of(net).path == state.path:
                        wanted.setdefault(net.description.name, net)
        for file in self._bundled if self._source.is_dir() else ():
            wanted.setdefault(file.weights.description.name, file)
        return list(wanted.values())

    @cached_property
    def _bundled(self) -> list[NetFile]:
        """The bundled nets that suit the settings."""
        settings, files = self._service.settings, list[NetFile]()
        for state in bundled_states(settings):
            with suppress(UserError):  # the service has reported it at the start
                files.append(read_net(state, settings).file)
        return files

    def _ready(self, wanted: NetFile | ServedNet) -> ServedNet | None:
        """Returns the net of a file, loaded if it is new; the net that was served under its name if that fails."""
        if isinstance(wanted, ServedNet):
            return wanted
        served = self._service.nets.get(wanted.weights.description.name)
        if served and served.weights.sha256 == wanted.weights.sha256:
            same_file = self._backend.file_of(served).state == wanted.state
            return served if same_file else self._backend.rename(served, wanted)
        try:
            return self._load(wanted, served)
        except UserError as error:
            self._settle(wanted.state, refuse(wanted.state, error))
        except Exception:
            log.exception("no net could be made of new weights")
            reason = "the engine failed on these weights; the log says why"
            self._settle(wanted.state, RefusedFile(wanted.path.name, reason))
        return served

    def _load(self, file: NetFile, served: ServedNet | None) -> ServedNet:
        """Raises UserError, RuntimeError."""
        begun = time.perf_counter()
        net = self._backend.load(file, former=served.name if served else None)
        self._service.metrics.weights_changes.labels("served").inc()
        fields = {"file": net.file, "model": net.label, "sha256": net.weights.sha256}
        fields |= {"former": served.label} if served else {}
        taken = {"load_ms": round(1000 * (time.perf_counter() - begun))}
        log.info("weights changed", extra={"fields": fields | taken})
        return net

    def _drop(self, nets: list[ServedNet]) -> None:
        for net in nets:
            self._backend.retire(net)
            self._dropped.append(weakref.ref(net))

    def _trim(self) -> None:
        """Returns memory to the system when the last request of a dropped net has ended."""
        in_use = [reference for reference in self._dropped if reference()]
        if len(in_use) < len(self._dropped):
            self._service.trimmer.trim()
        self._dropped = in_use

    def _report(self, states: list[FileState]) -> None:
        """Reports each refused file once."""
        refused: list[RefusedFile] = []
        for state in states:
            known = self._known.get(state)
            if isinstance(known, RefusedFile | _Unfinished):
                file, outcome = (known, "refused") if isinstance(known, RefusedFile) else (known.refused, "unfinished")
                refused.append(file)
                self._report_once(file, outcome)
        if not states and not self._serves_bundled():
            refused = [RefusedFile(self._service.net.file, "the file is gone, and there is no other weights file")]
            self._report_once(refused[0], "refused")
        self._reported = self._service.refused = tuple(refused)

    def _serves_bundled(self) -> bool:
        """Returns True if the default net is a bundled one: a folder that was empty at the start is in order."""
        return self._service.net.weights.sha256 in [file.weights.sha256 for file in self._bundled]

    def _report_once(self, file: RefusedFile, outcome: str) -> None:
        if file in self._reported:
            return
        self._service.metrics.weights_changes.labels(outcome).inc()
        fields = {"file": file.file, "problem": file.reason, "served": self._service.net.label}
        level = logging.WARNING if outcome == "refused" else logging.INFO
        log.log(level, "weights stay as they were", extra={"fields": fields})
