"""The call `POST /labels`."""

import hashlib
import logging
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from pydantic import JsonValue
from starlette.datastructures import Headers

from app import pipeline
from app.admission import given_key
from app.capacity import QueueFull
from app.openapi import LABELS_REQUEST, LABELS_RESPONSES, SavedLabel
from app.parameters import read_as
from app.problems import Problem, overload_problem
from app.saving.checked_pair import CheckedPair, check_pair, measure_pair
from app.saving.label_form import LabelForm, LabelParameters, read_label_form
from app.saving.label_store import LabelStore, Saved, StoreFull
from app.served_net import ServedNet
from app.service import Service, service_of

log = logging.getLogger(__name__)

router = APIRouter()

_FINGERPRINT_DIGITS = 8


@router.post(
    "/labels",
    status_code=HTTPStatus.CREATED,
    openapi_extra=LABELS_REQUEST,
    responses=LABELS_RESPONSES,
    tags=["labels"],
)
async def save_labels(request: Request, response: Response) -> SavedLabel:
    """Saves an image and its corrected label as training data, if SEGMENT_LABELS names a folder.

    A later label of the same image replaces the earlier one, which is kept as history.
    """
    service = service_of(request)
    nets, store = service.nets, service.label_store
    if store is None:
        raise Problem(HTTPStatus.NOT_FOUND, "Saving is off here; the operator turns it on with SEGMENT_LABELS.")
    _check_origin(request.headers, service.settings.cors_origins)
    query = request.query_params.multi_items()
    nets.find(read_as(LabelParameters, query).model)  # a bad query is refused before the body is read
    async with pipeline.deadline(service):
        form = await read_label_form(request, service)
        parameters = read_as(LabelParameters, [*query, *form.fields])
        net = nets.find(parameters.model)
        pair = await _checked(service, net, form)
        fields: dict[str, JsonValue] = {"key": _fingerprint_of_key(request, service), "weights": net.label}
        saved = await _saved(store, pair, fields | _about_label(parameters, form))
    response.headers["X-Model"] = net.label
    return SavedLabel(id=saved.id, replaced=saved.outcome == "replaced", pairs=saved.pairs)


def _check_origin(headers: Headers, allowed: tuple[str, ...]) -> None:
    """Refuses a browser that sends a form for a page of another site (cross-site request forgery).

    Browsers ask no permission (CORS) before they send a form, so such a page could save labels in a service without
    keys. `Sec-Fetch-Site` is what the browser says; without it, as on plain HTTP, `Origin` must name this host.

    Raises:
        Problem: 403.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if not origin or origin in allowed or "*" in allowed or site == "same-origin":
        return
    if site is None and origin.partition("://")[2] in (headers.get("host"), headers.get("x-forwarded-host")):
        return
    detail = "A page of another origin may save labels only if SEGMENT_CORS_ORIGINS lists that origin."
    raise Problem(HTTPStatus.FORBIDDEN, detail)


async def _checked(service: Service, net: ServedNet, form: LabelForm) -> CheckedPair:
    """Decodes and checks the files, within the limits of the queue. Raises Problem."""
    settings, classes = service.settings, net.description.architecture.classes

    def check() -> CheckedPair:
        pair = measure_pair(form.image, form.label, settings.max_pixels)
        with net.reserved(pair.pixels):
            checked = check_pair(pair, classes)
        service.trimmer.answered()
        return checked

    try:
        return await service.run_in_pool(check)
    except QueueFull as error:
        service.metrics.rejected.labels("overload").inc()
        raise overload_problem(error.retry_after_s) from error


async def _saved(store: LabelStore, pair: CheckedPair, provenance: dict[str, JsonValue]) -> Saved:
    """Raises Problem, 507: the limits or the disk leave no space, or the folder cannot be written to."""
    try:
        return await store.save(pair, provenance)
    except StoreFull as error:
        raise Problem(HTTPStatus.INSUFFICIENT_STORAGE, f"The folder of labels is full: {error}.") from error
    except OSError as error:
        log.error("labels cannot be saved", extra={"fields": {"problem": error.strerror or type(error).__name__}})
        detail = "The pair cannot be written: the disk is full or the folder is not writable."
        raise Problem(HTTPStatus.INSUFFICIENT_STORAGE, detail) from error


def _about_label(parameters: LabelParameters, form: LabelForm) -> dict[str, JsonValue]:
    """Returns what the client says about the label, for its provenance."""
    return {
        "threshold": parameters.threshold,
        "page": parameters.page,
        "name": parameters.name or form.file_name,
    }


def _fingerprint_of_key(request: Request, service: Service) -> str | None:
    """Returns a name of the key that does not show the key, the first digits of its sha256; None without keys."""
    if not service.settings.api_keys:
        return None
    return hashlib.sha256(given_key(request.headers)).hexdigest()[:_FINGERPRINT_DIGITS]
