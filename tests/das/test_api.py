"""The Python API: explicit signatures, and a misspelt keyword fails before anything is read."""

import inspect
from functools import partial
from pathlib import Path

import pytest

import das
from compressor.settings import Settings
from compressor.tuning.tune_settings import TuneSettings


@pytest.mark.parametrize(
    ("function", "keyword"),
    [
        (das.compress, "recover_epoch"),
        (das.export, "precison"),
        (das.profile, "second"),
        (das.flops, "skip_layer"),
        (das.load, "image_sise"),
        (partial(das.compress_seeds, [0]), "recover_epoch"),
    ],
)
def test_a_misspelt_keyword_fails_at_once(function, keyword, monkeypatch):
    def refuse(path):
        raise AssertionError("read before the keywords were looked at")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TypeError, match=keyword):
        function("meter", **{keyword: 1})


@pytest.mark.parametrize("name", das.__all__)
def test_signatures_are_explicit_and_documented(name):
    function = getattr(das, name)
    parameters = inspect.signature(function).parameters
    if name != "compress_seeds":  # whose further options are those of compress
        assert not [entry for entry in parameters.values() if entry.kind is entry.VAR_KEYWORD]
    assert "Raises:" in function.__doc__
    if name in ("compress", "export", "profile", "flops"):
        assert all(f"        {entry}: " in function.__doc__ for entry in parameters)


def test_compress_takes_every_setting():
    own = {"resume", "progress"}
    assert inspect.signature(das.compress).parameters.keys() - own == Settings.model_fields.keys()


def test_every_option_of_compress_and_tune_arrives_as_itself(monkeypatch):
    arrived = {}

    def keep(*_, **options):
        arrived.update(options)
        raise KeyError

    monkeypatch.setattr("compressor.search.reuse.settings_of", keep)
    monkeypatch.setattr("compressor.settings.read_options", keep)
    for function, kind in ((das.compress, Settings), (das.tune, TuneSettings)):
        arrived.clear()
        with pytest.raises(KeyError):
            function(**{name: name for name in kind.model_fields})
        assert arrived == {name: name for name in kind.model_fields if name != "from_run"}
