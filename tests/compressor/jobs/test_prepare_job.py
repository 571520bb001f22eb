"""A job names the files that it was made of."""

from compressor.jobs.prepare_job import prepare_job
from compressor.settings import Settings


def test_a_checkpoint_behind_a_link_keeps_the_name_it_was_given(workshop):
    (workshop / "cache").mkdir()
    (workshop / "meter.ckpt").rename(workshop / "cache" / "3f786850e387550f")  # as download caches store files
    (workshop / "meter.ckpt").symlink_to("cache/3f786850e387550f")
    job = prepare_job(Settings(checkpoint="meter.ckpt", task="vqa", layers=("FL1",), recover="none"))
    assert job.source.path == str(workshop / "meter.ckpt")
