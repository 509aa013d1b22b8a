"""`POST /labels` under attack: damaged forms, tricks with names, two writers, full disks, and kill -9 while it writes.

Whatever happens, each answered save is in the folder, the training reads the folder, and nothing is outside of it.
"""

import contextlib
import gzip
import hashlib
import json
import re
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np

from app.client import Client, ServiceError
from model.images.encoding import encode_png
from model.inputs.preprocessing import Pixels
from tests.support.measuring import HOST, Answer
from tests.support.servers import Server
from tests.torture.corpus import GREY, GREY16, make_corpus
from tests.torture.mutation import mutate
from tests.torture.small_service import MAX_BODY_BYTES, MAX_PIXELS, small_service
from tests.torture.storm import Attempt, Storm
from tests.torture.verdict import Verdict
from training.data.folder import IN_MEMORY, load_data
from training.data.image_reader import ImageReader
from training.data.pair_files import read_pairs
from training.data.pairing import find_pairs
from training.data_error import DataError

LONG, SHORT = 6000, 120  # damaged forms
FORMS_PER_KILL = 200

WRITERS, IMAGES, LABELS_EACH = 2, 4, 15
SIDE = 96

_FOLDERS = ("image", "label", "history", "provenance")
_NAME = re.compile(r"[0-9a-f]{32}(-\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8})?\.(png|tif|jpg|bmp|webp|json)")
_TRICKS = (
    *("../../outside.png", "/etc/cron.d/outside", "..\\..\\outside.png", "C:\\outside", "label/../../outside", "."),
    *("a\0b.png", "%2e%2e%2foutside", "\xe4.png", "n" * 5000, "CON", "", "-rf", ".hidden", "~root", "$(id)", "a\nb"),
)
_PARTS = ("image", "label", "file", "image[]", "../label", "name", "page", "threshold", "", "x" * 3000)
_FIELDS = ("1", "0.5", "-1", "nan", "1e999", "../../x", "\xff", "9" * 400, "{}", "")


@dataclass
class Ledger:
    """What was answered with 201, and what is wrong with the folder. A label is known by the sha256 of its PNG."""

    folder: Path
    saved: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)

    def acknowledge(self, answer: dict[str, Any], label: Pixels) -> None:
        self.saved[answer["id"]].append(_sha256(encode_png(label)))

    def check(self, *, leftovers: bool = False) -> None:
        """Reads the folder as the training does. `leftovers`: temporary files of a killed process may be there."""
        outside = {path.name for path in self.folder.parent.iterdir()} - {self.folder.name}
        self.faults += [f"outside the folder: {name}" for name in outside]
        files = {name: list((self.folder / name).iterdir()) for name in _FOLDERS}
        for path in [path for found in files.values() for path in found]:
            hidden = path.name.startswith(".") and path.name.endswith(".tmp")
            if not (hidden and leftovers) and not _NAME.fullmatch(path.name):
                self.faults.append(f"a file {path.parent.name}/{path.name}")
        problems = list[str]()
        layout = find_pairs(self.folder)
        pairs = read_pairs(layout, problems, IN_MEMORY, ImageReader())
        self.faults += [*layout.problems, *problems]
        names = {pair.name for pair in pairs}
        history = self._history()
        for name, digests in self.saved.items():
            if name not in names:
                self.faults.append(f"the pair {name} was answered and is not there")
            self.faults += [f"a label of {name} is lost" for digest in digests if digest not in history[name]]

    def _history(self) -> dict[str, set[str]]:
        """The sha256 of each label in the history, by the id of its pair; the records must agree."""
        found = defaultdict[str, set[str]](set)
        for path in (self.folder / "history").glob("[!.]*"):
            digest = _sha256(path.read_bytes())
            found[path.name[:32]].add(digest)
            record = self.folder / "provenance" / f"{path.stem}.json"
            # a kill between the two leaves a label without its record, which was not answered
            if record.exists() and json.loads(record.read_text())["label_sha256"] != digest:
                self.faults.append(f"{path.name} and its record differ")
        return found

    def current(self, name: str) -> str:
        return _sha256((self.folder / "label" / f"{name}.png").read_bytes())


def attack(count: int) -> Verdict:
    """So many damaged forms, and the other attacks as often as goes with it."""
    kills = max(1, count // FORMS_PER_KILL)
    with tempfile.TemporaryDirectory() as parent:
        ledgers = [Ledger(Path(parent) / name / "labels") for name in ("forms", "disk", "kills")]
        together, disk, killed = ledgers
        with small_service(labels=together.folder) as server:
            found = [_forms(server, together, count), _limited_files(server, together)]
            with small_service(labels=together.folder) as second:
                found.append(_two_writers((server, second), together))
            together.check()
        found += [_full_disk(disk), _kills(killed, kills)]
    faults = [fault for ledger in ledgers for fault in ledger.faults]
    found += [f"{len(faults)} faults: " + "; ".join(faults[:5])] if faults else ["nothing lost, nothing outside"]
    done = f"{count} damaged forms; two processes on one folder; full disks; {kills} kills while it writes"
    return Verdict(done, "; ".join(found), not faults)


# --- Damaged and oversized forms --------------------------------------------------------------------------------------


class _SavingStorm(Storm):
    """A storm that keeps what is answered with 201."""

    def __init__(self, server: Server, ledger: Ledger) -> None:
        super().__init__(server)
        self.ledger = ledger

    def _check(self, attempt: Attempt, answer: Answer) -> None:
        super()._check(attempt, answer)
        if answer.status == 201:
            self.ledger.saved.setdefault(json.loads(answer.body)["id"], [])


def _forms(server: Server, ledger: Ledger, count: int) -> str:
    good = encode_png(GREY)
    mask = server.mask(good)
    storm = _SavingStorm(server, ledger)
    storm.run(_attempts(count))
    verdict = storm.verdict(f"{count} forms", good, mask)
    ledger.faults += storm.faults
    ledger.faults += [] if ledger.saved else ["no form was accepted"]
    _oversized(server, ledger)
    ledger.check()
    return verdict.found


def _attempts(count: int) -> Iterator[Attempt]:
    """Each depends on its number alone."""
    corpus = list(make_corpus().values())
    label = encode_png(np.where(GREY > 127, 255, 0).astype(np.uint8))
    for index in range(count):
        random = Random(index)  # noqa: S311 - the same damage each time is what it is for
        body = _form(corpus, label, random)
        if index % 8 and random.random() < 0.5:
            body = mutate(body, corpus, random)
        head = f"POST /labels{random.choice(('',) * 10 + ('?name=a', '?x=y', '/'))} HTTP/1.1\r\nHost: {HOST}\r\n"
        head += f"Content-Type: multipart/form-data; boundary=line\r\nContent-Length: {len(body)}\r\n\r\n"
        yield Attempt(f"{index}.http", head.encode() + body, body)


def _form(corpus: list[bytes], label: bytes, random: Random) -> bytes:
    """Two files and fields, some of them wrong."""
    image = encode_png(random.choice((GREY, GREY[::-1].copy(), GREY16))) if random.random() < 0.7 else None
    files = {
        "image": image or random.choice(corpus),
        "label": label if random.random() < 0.7 else random.choice(corpus),
    }
    parts = [(name, random.choice(_TRICKS), data) for name, data in files.items()]
    if random.random() < 0.3:
        parts[random.randrange(2)] = (random.choice(_PARTS), "a", random.choice(corpus))
    body = b"".join(_part(f'name="{name}"; filename="{trick}"', data) for name, trick, data in parts)
    for name in random.sample(("name", "page", "threshold", "other", "label"), random.choice((0, 0, 0, 1, 2))):
        value = random.choice((*_FIELDS, *_TRICKS) if random.random() < 0.5 else ("0.5",)).encode("latin-1", "replace")
        body += _part(f'name="{name}"', value)
    return body + b"--line--\r\n"


def _part(place: str, data: bytes) -> bytes:
    return b"--line\r\nContent-Disposition: form-data; " + place.encode("latin-1") + b"\r\n\r\n" + data + b"\r\n"


def _oversized(server: Server, ledger: Ledger) -> None:
    """Too many bytes, as sent and decompressed, and too many pixels."""
    url, small = f"http://{HOST}:{server.port}/labels", encode_png(GREY)
    large = encode_png(np.zeros((MAX_PIXELS // 1000 + 1, 1000), np.uint8))
    form = httpx.Request("POST", url, files={"image": small, "label": bytes(2 * MAX_BODY_BYTES)})
    packed = {"Content-Type": form.headers["content-type"], "Content-Encoding": "gzip"}
    statuses = [
        httpx.post(url, files={"image": small, "label": bytes(MAX_BODY_BYTES)}).status_code,
        httpx.post(url, content=gzip.compress(form.read()), headers=packed).status_code,
        httpx.post(url, files={"image": large, "label": large}).status_code,
        httpx.post(url, files={"image": small, "label": large}).status_code,
    ]
    if statuses != [413, 413, 422, 422]:
        ledger.faults.append(f"oversized forms are answered with {statuses}")


# --- Two writers ------------------------------------------------------------------------------------------------------


def _two_writers(servers: tuple[Server, Server], ledger: Ledger) -> str:
    """Two processes save labels of the same images into one folder."""
    final = defaultdict[str, set[str]](set)
    lock = threading.Lock()

    def write(server: Server, writer: int) -> None:
        with _client(server) as client:
            for number in range(LABELS_EACH * IMAGES):
                label = _label(1000 * (writer + 1) + number)
                answer = client.save_labels(_image(number % IMAGES), label)
                with lock:
                    ledger.acknowledge(answer, label)
                    if number >= (LABELS_EACH - 1) * IMAGES:
                        final[answer["id"]].add(_sha256(encode_png(label)))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, servers, range(WRITERS)))
    ledger.check()
    ledger.faults += [
        f"{name} has a label that was not the last" for name in final if ledger.current(name) not in final[name]
    ]
    return f"two writers: {WRITERS * IMAGES * LABELS_EACH} saves of {len(final)} images"


# --- No space ---------------------------------------------------------------------------------------------------------


def _limited_files(server: Server, ledger: Ledger) -> str:
    """Writes that fail in their midst, because a file may not become larger."""
    refused = 0
    with _client(server) as client:
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        for turn, most in enumerate((600, 2000, 5000, 8000)):
            for image, label in ((_image(turn), _label(turn)), (_image(turn)[:8], _noise(turn)[:8])):
                before = _listing(ledger.folder)
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most if len(image) > 8 else 600, hard))
                try:
                    refused += _is_refused(client, image, label, ledger)
                finally:
                    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
                if _listing(ledger.folder) != before:
                    ledger.faults.append("a refused pair has left files")
                ledger.acknowledge(client.save_labels(image, label), label)
    ledger.check()
    return f"writes that fail in their midst: {refused} x 507"


def _full_disk(ledger: Ledger) -> str:
    """A file system of 400 kB, if this user may mount one."""
    disk = ledger.folder.parent
    disk.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        return "full disk: not tried, because this user may not mount one"
    refused = accepted = 0
    try:
        with small_service(labels=ledger.folder) as server, _client(server) as client:
            filler = ledger.folder / "history" / ("0" * 32 + ".png")
            filler.write_bytes(encode_png(_noise(0)) + bytes(100_000))
            while refused < 5:
                before = _listing(ledger.folder)
                if _is_refused(client, _image(accepted), _label(accepted), ledger):
                    refused += 1
                    ledger.faults += [] if _listing(ledger.folder) == before else ["a refused pair has left files"]
                else:
                    accepted += 1
            filler.unlink()
            ledger.acknowledge(client.save_labels(_image(accepted), _label(accepted)), _label(accepted))
        ledger.check()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return f"full disk: {accepted} saved, {refused} x 507, saved again after space was made"


def _is_refused(client: Client, image: Pixels, label: Pixels, ledger: Ledger) -> bool:
    """True for 507; a pair that is saved is noted."""
    try:
        ledger.acknowledge(client.save_labels(image, label), label)
    except ServiceError as error:
        if error.status != 507:
            ledger.faults.append(f"without space, the answer is {error}")
        return True
    return False


def _listing(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


# --- Kills ------------------------------------------------------------------------------------------------------------


def _kills(ledger: Ledger, kills: int) -> str:
    """Kills the process while four clients save, and looks at what is left."""
    seen, ids = Counter[str](), dict[int, str]()
    standing = dict[str, tuple[str, int]]()  # the label of each pair after the last kill, and how many were answered
    for turn in range(kills):
        sent = dict[str, str]()  # what the client of each pair sent last, answered or not
        with small_service(labels=ledger.folder) as server, ThreadPoolExecutor(IMAGES) as pool:
            for image in range(IMAGES):
                pool.submit(_save_on, server, image, turn, ledger, sent, ids)
            time.sleep(Random(turn).uniform(0.1, 0.9))  # noqa: S311 - moments, not secrets
            server.process.send_signal(signal.SIGKILL)
        before = len(ledger.faults)
        ledger.check(leftovers=True)
        for name, digests in ledger.saved.items():
            before_kill, answered = standing.get(name, ("", 0))
            current = ledger.current(name)
            if current not in (digests[-1] if len(digests) > answered else before_kill, sent.get(name)):
                ledger.faults.append(f"kill {turn}: {name} has neither the last answered label nor the one on its way")
            standing[name] = current, len(digests)
        with contextlib.suppress(DataError):
            seen["read"] += bool(load_data(ledger.folder).samples)
        seen["temporary files"] = sum(1 for _ in ledger.folder.glob("*/.*.tmp"))
        if len(ledger.faults) > before:
            break
    total = sum(map(len, ledger.saved.values()))
    if seen["read"] != kills:
        ledger.faults.append(f"the training read the folder after {seen['read']} kills of {kills}")
    return f"{kills} kills: {total} saves answered, {seen['temporary files']} cut off"


def _save_on(server: Server, image: int, turn: int, ledger: Ledger, sent: dict[str, str], ids: dict[int, str]) -> None:
    """Saves labels of one image until the server is gone. `ids`: of the images, if they are known."""
    number = 0
    with _client(server) as client, contextlib.suppress(httpx.TransportError):
        while True:
            label = _label(100_000 * turn + 10_000 * image + number)
            if image in ids:
                sent[ids[image]] = _sha256(encode_png(label))
            answer = client.save_labels(_image(image), label)
            ids[image] = answer["id"]
            number += 1
            ledger.acknowledge(answer, label)


def _client(server: Server) -> Client:
    return Client(f"http://{HOST}:{server.port}", retries=0)


def _image(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE), np.uint8)


def _label(number: int) -> Pixels:
    """A mask that shows the number in its first pixels."""
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[SIDE // 2 :] = 255
    label[0, :32] = [255 * (number >> bit & 1) for bit in range(32)]
    return label


def _noise(seed: int) -> Pixels:
    """Object ids that no compression makes small."""
    return np.random.default_rng(seed).integers(2, 65535, (SIDE, SIDE), np.uint16)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
