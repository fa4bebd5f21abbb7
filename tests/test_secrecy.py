"""Secrets by their names."""

import pytest

from discrete_latents import secrecy
from discrete_latents.secrecy import MASK, learn, masked, masked_text

SECRET = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "known", set())


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "WANDB_API_KEY", "apiKey", "key", "token", "HF_TOKEN", "auth_token", "tokens", "secret"),
        *("AWS_SECRET_ACCESS_KEY", "client_secret_value", "password", "DATABASE_PASSWORD", "passwd", "passphrase"),
        *("credentials", "GOOGLE_APPLICATION_CREDENTIALS", "credential_file"),
    ],
)
def test_settings_are_masked_by_name_and_in_text_by_value(name):
    settings = {"a": [{name: SECRET}, {name: {"user": SECRET}}, {name: [SECRET]}], "seed": 3, "about": f"as {SECRET}"}
    assert masked(settings)["a"] == [{name: MASK}, {name: {"user": MASK}}, {name: [MASK]}]
    assert masked(settings)["seed"] == 3
    assert masked([f"+x.{name}={SECRET}"]) == [f"+x.{name}={MASK}"]
    learn(settings)
    assert masked(settings)["about"] == f"as {MASK}"
    assert masked_text(f"Bearer {SECRET}, again {SECRET}") == f"Bearer {MASK}, again {MASK}"
    assert masked(masked(settings)) == masked(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"monitor": "val/nelbo", "seed": 0, "path": "a=b", "hidden": [1], "keyboard": "qwerty"},
        {"token": None, "key": True, "num_tokens": 512, "api_key": ""},
        {"api_key": "${oc.env:WANDB_API_KEY}"},  # which holds none itself
        {1: "a", "x": None},
    ],
)
def test_nothing_else_is_masked(settings):
    assert masked(settings) == settings


def test_a_number_is_secret_where_the_name_is_sure():
    assert masked({"password": 123456, "secret": 1.5}) == {"password": MASK, "secret": MASK}


def test_short_values_are_masked_by_name_alone():
    learn({"token": "on"})
    assert masked_text("one of none") == "one of none"
    assert masked({"token": "on"}) == {"token": MASK}
