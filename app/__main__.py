"""`python -m app`: serves.

Exit codes: 0 after SIGTERM or Ctrl-C, 1 if it cannot listen or make its engine, 2 for a bad setting, 3 for bad weights.
"""

import argparse
import signal
import sys

from app.settings import PREFIX, Settings, SettingsError, load_settings

BAD_SETTING, BAD_WEIGHTS = 2, 3


def main() -> int:
    """The process; returns its exit code."""
    _parse()
    try:
        settings = load_settings()
    except SettingsError as error:
        return _say(str(error), BAD_SETTING)
    # only now, since torch takes seconds to import and a bad setting should not
    from app.application import create_app
    from app.logs import configure_logs
    from app.server import serve
    from model.weights_file import WeightsError

    configure_logs(settings.log_level)
    try:
        return serve(create_app(settings))
    except SettingsError as error:
        return _say(str(error), BAD_SETTING)
    except WeightsError as error:
        return _say(str(error), BAD_WEIGHTS)


def _parse() -> None:
    """Tells of the settings if asked with --help; there are no other options."""
    settings = [f"  {PREFIX}{name.upper()}: {field.description}" for name, field in Settings.model_fields.items()]
    argparse.ArgumentParser(
        prog="python -m app",
        description="Serve segmentation. Settings are environment variables; README.md has their defaults:",
        epilog="\n".join(settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()


def _say(line: str, code: int) -> int:
    print(f"unet-segmentation: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the server has handlers of its own
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
