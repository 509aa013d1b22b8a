from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, SettingsError, load_settings


def test_nothing_needs_to_be_set():
    settings = load_settings()
    assert (settings.host, settings.port, settings.device, settings.weights) == ("0.0.0.0", 8000, "auto", None)  # noqa: S104
    assert settings.api_keys == ()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("weights", "/models/a.safetensors", Path("/models/a.safetensors")),
        ("device", "cuda:1", "cuda:1"),
        ("engine", "torch", "torch"),
        ("precision", "bf16", "bf16"),
        ("tta", "8", 8),
        ("host", "127.0.0.1", "127.0.0.1"),
        ("port", "9000", 9000),
        ("max_body_bytes", "1024", 1024),
        ("max_pixels", "1", 1),
        ("max_queue_pixels", "7", 7),
        ("max_wait_s", "0.5", 0.5),
        ("max_upload_bytes", "2048", 2048),
        ("max_batch", "3", 3),
        ("tile", "256", 256),
        ("deadline_s", "0.5", 0.5),
        ("public_metrics", "false", False),
        ("labels", "/data/corrections", Path("/data/corrections")),
        ("max_labels", "5", 5),
        ("max_labels_bytes", "8192", 8192),
        ("root_path", "/lab/cells/", "/lab/cells"),
        ("cors_origins", "https://a.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
        ("cors_origins", "*", ("*",)),
        ("keep_alive_s", "75", 75.0),
        ("host", "unix:/run/segment.sock", "unix:/run/segment.sock"),
        ("threads", "5", 5),
        ("log_level", "debug", "debug"),
    ],
)
def test_each_field_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object):
    assert getattr(load_settings(), name) != value
    monkeypatch.setenv(f"SEGMENT_{name.upper()}", text)
    assert getattr(load_settings(), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SEGMENT_PORT", "abc"),
        ("SEGMENT_PORT", "0"),
        ("SEGMENT_PORT", "65536"),
        ("SEGMENT_DEVICE", "gpu"),
        ("SEGMENT_DEVICE", "cuda:x"),
        ("SEGMENT_ENGINE", "nonsense"),
        ("SEGMENT_PRECISION", "int3"),
        ("SEGMENT_TTA", "3"),
        ("SEGMENT_TTA", "0"),
        ("SEGMENT_TTA", "all"),
        ("SEGMENT_TTA", "2.0"),
        ("SEGMENT_MAX_BODY_BYTES", "0"),
        ("SEGMENT_MAX_PIXELS", "-1"),
        ("SEGMENT_MAX_QUEUE_PIXELS", "0"),
        ("SEGMENT_MAX_BATCH", "0"),
        ("SEGMENT_TILE", "1.5"),
        ("SEGMENT_DEADLINE_S", "0"),
        ("SEGMENT_DEADLINE_S", "nan"),
        ("SEGMENT_DEADLINE_S", "inf"),
        ("SEGMENT_MAX_LABELS", "0"),
        ("SEGMENT_MAX_LABELS_BYTES", "100"),
        ("SEGMENT_ROOT_PATH", "lab"),
        ("SEGMENT_ROOT_PATH", "//lab"),
        ("SEGMENT_ROOT_PATH", "https://a.example/lab"),
        ("SEGMENT_CORS_ORIGINS", "a.example"),
        ("SEGMENT_CORS_ORIGINS", "https://a.example/page"),
        ("SEGMENT_CORS_ORIGINS", "https://a.example,"),
        ("SEGMENT_KEEP_ALIVE_S", "0"),
        ("SEGMENT_THREADS", "-2"),
        ("SEGMENT_LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_setting_is_one_line_with_name_value_and_expectation(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{variable}={text}: ")
    assert message.endswith(")")
    assert "\n" not in message


@pytest.mark.parametrize("variable", ["SEGMENT_PORT", "SEGMENT_API_KEYS", "SEGMENT_WEIGHTS", "SEGMENT_DEADLINE_S"])
def test_a_variable_that_is_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, variable: str):
    monkeypatch.setenv(variable, "")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SEGMENT_API_KEY", "API_KEYS"),
        ("SEGMENT_WEIGHT", "WEIGHTS"),
        ("SEGMENT_LOGLEVEL", "LOG_LEVEL"),
        ("SEGMENT_MAX_PIXEL", "MAX_PIXELS"),
        ("SEGMENT_QUEUE_PIXELS", "MAX_QUEUE_PIXELS"),
        ("SEGMENT_CORS_ORIGIN", "CORS_ORIGINS"),
        ("segment_devise", "DEVICE"),
    ],
)
def test_a_misspelt_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch, variable: str, meant: str):
    monkeypatch.setenv(variable, "hush")
    with pytest.raises(SettingsError, match=f"^{variable.upper()}: .* did you mean SEGMENT_{meant}\\?$"):
        load_settings()


@pytest.mark.parametrize(
    "variable",
    [
        *("SEGMENT_SERVICE_HOST", "SEGMENT_SERVICE_PORT_HTTP", "SEGMENT_PORT_8000_TCP_ADDR"),  # Kubernetes sets them
        *("SEGMENT_VERSION", "SEGMENT_WRITE_KEY", "SEGMENTS"),
    ],
)
def test_a_variable_of_another_program_is_ignored(monkeypatch: pytest.MonkeyPatch, variable: str):
    monkeypatch.setenv(variable, "anything")
    assert load_settings() == Settings()


def test_keys_are_separated_by_commas_and_stripped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEGMENT_API_KEYS", "one, two ,three")
    assert [key.get_secret_value() for key in load_settings().api_keys] == ["one", "two", "three"]


@pytest.mark.parametrize("text", ["hush,,more", "hush,", ",hush", " ", ","])
def test_an_empty_key_is_refused_without_telling_the_others(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("SEGMENT_API_KEYS", text)
    with pytest.raises(SettingsError, match=r"^SEGMENT_API_KEYS: .*empty key") as caught:
        load_settings()
    assert "hush" not in str(caught.value)


def test_keys_do_not_show_when_settings_are_printed():
    settings = Settings(api_keys="hush")
    assert "hush" not in repr(settings)
    assert "hush" not in settings.model_dump_json()


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_threads_default_to_the_cores_and_are_never_none():
    assert Settings().compute_threads >= 1
    assert Settings(threads=3).compute_threads == 3
