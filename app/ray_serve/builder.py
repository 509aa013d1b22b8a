"""The Ray Serve application: what `import_path` in deploy/ray-serve.yaml names."""

from ray.serve import Application

from app.ray_serve.engine_deployment import EngineDeployment
from app.ray_serve.front import Front
from model.errors import UserError


def build(arguments: dict[str, str]) -> Application:
    """The front, bound to its engines. It takes no arguments: settings are SEGMENT_ variables of the runtime_env.

    Raises ValueError.
    """
    if arguments:
        raise UserError(f"args: {', '.join(arguments)}: none are expected; settings are variables, SEGMENT_<NAME>")
    application: Application = Front.bind(EngineDeployment.bind())  # type: ignore[attr-defined]  # the decorators are untyped
    return application
