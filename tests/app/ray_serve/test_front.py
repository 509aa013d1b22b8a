import asyncio

from ray.exceptions import TaskCancelledError
from starlette.types import Message, Receive, Scope, Send

from app.ray_serve.front import BehindProxy


def test_a_client_that_has_left_is_told_of_as_servers_do():
    """Ray's `receive` raises once, and is not asked again."""
    coming: list[Message | Exception] = [{"type": "http.request"}, TaskCancelledError()]
    heard: list[str] = []

    async def receive() -> Message:
        message = coming.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        heard.extend([(await receive())["type"] for _ in range(3)])

    async def send(_message: Message) -> None:
        raise AssertionError

    asyncio.run(BehindProxy(app)({"type": "http"}, receive, send))
    assert heard == ["http.request", "http.disconnect", "http.disconnect"]
