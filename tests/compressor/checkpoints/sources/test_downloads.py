"""Hugging Face is asked where it answers, and nobody waits for it where it does not."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from compressor.checkpoints.sources.downloads import download, why_offline


class NoModels(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *_): ...


@pytest.fixture
def address(monkeypatch):
    """Where a server of this machine answers, though with nothing; the client may go online."""
    server = HTTPServer(("127.0.0.1", 0), NoModels)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield constants.ENDPOINT
    server.shutdown()
    server.server_close()


def test_any_answer_is_a_network(address):
    assert why_offline() is None


def test_no_network_is_told_and_not_waited_for(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert why_offline() == "http://127.0.0.1:9 cannot be reached"
    with pytest.raises(FileNotFoundError, match=r"not downloaded earlier, and http://127\.0\.0\.1:9 cannot be reached"):
        download("bert-nowhere", ["config.json"])


def test_offline_by_choice(address, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert why_offline() == "HF_HUB_OFFLINE is set"
