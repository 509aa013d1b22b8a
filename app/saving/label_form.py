"""The form of `POST /labels`: two files, `image` and `label`, and fields about them."""

from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile

from app.problems import Problem, shown
from app.service import Service
from app.upload import FORM_TYPE, content_type, fields_of, read_form, safe_name

FILES = ("image", "label")


class LabelParameters(BaseModel):
    """The fields beside the files; the provenance keeps them, and only `model` has another use."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(
        "", max_length=64, description="name of the net whose mask was corrected; default: that of GET /model"
    )
    name: str | None = Field(None, max_length=200, description="a name of the image for people; default: its file name")
    page: int | None = Field(None, ge=0, description="number of the page in the stack that the image comes from")
    threshold: float | None = Field(None, gt=0, lt=1, description="threshold of the mask that was corrected")


@dataclass(frozen=True)
class LabelForm:
    """A form as it was sent.

    Attributes:
        image: The bytes of the file `image`.
        label: The bytes of the file `label`.
        file_name: The image's file name, without separators and control characters.
        fields: Names and values of the other fields.
    """

    image: bytes
    label: bytes
    file_name: str
    fields: tuple[tuple[str, str], ...]


async def read_label_form(request: Request, service: Service) -> LabelForm:
    """Reads the body.

    Raises:
        Problem: 400 broken form or compression, 413 too large when decompressed, 415 no form or a coding that is not
            accepted, 422 not exactly one file `image` and one file `label`.
    """
    if content_type(request) != FORM_TYPE:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Send multipart/form-data with a file named image and a file named label.",
        )
    form = await read_form(request, service)
    try:
        image, label = _files_of(form)
        return LabelForm(await image.read(), await label.read(), safe_name(image.filename), fields_of(form))
    finally:
        await form.close()


def _files_of(form: FormData) -> tuple[UploadFile, UploadFile]:
    """Returns the files `image` and `label`. Raises Problem, 422."""
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    texts = [name for name in FILES if isinstance(form.get(name), str)]
    others = [name for name, _ in files if name not in FILES]
    counts = {name: sum(other == name for other, _ in files) for name in FILES}
    wanted = "send one file named image and one file named label"
    if texts:
        detail = f"The part {texts[0]} is text; send a file, with a filename."
    elif others:
        detail = f"There is no file {shown(others[0])}; {wanted}."
    elif faulty := [name for name, count in counts.items() if count != 1]:
        detail = f"The form has {counts[faulty[0]] or 'no'} files named {faulty[0]}; {wanted}."
    else:
        found = dict(files)
        return found["image"], found["label"]
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
