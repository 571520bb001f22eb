"""A job names the files that it was made of, and refuses what it cannot be made of."""

from compressor.errors import InputError
from compressor.jobs.prepare_job import prepare_job
from compressor.settings import Settings
from tests.support.command_line import refused
from tests.support.data_files import put


def test_a_checkpoint_behind_a_link_keeps_the_name_it_was_given(workshop):
    (workshop / "cache").mkdir()
    (workshop / "meter.ckpt").rename(workshop / "cache" / "3f786850e387550f")  # as download caches store files
    (workshop / "meter.ckpt").symlink_to("cache/3f786850e387550f")
    job = prepare_job(Settings(checkpoint="meter.ckpt", task="vqa", layers=("FL1",), recover="none"))
    assert job.source.path == str(workshop / "meter.ckpt")


def test_a_new_head_is_not_trained_on_data_of_one_class(sentences):
    for split in ("train", "validation"):
        put(sentences / "praise" / f"{split}.csv", "sentence,label\n" + "the film is great,good\n" * 20)
    with refused(InputError, "one-class", "all sentences", "of one class, good", "--data FOLDER"):
        prepare_job(Settings(checkpoint="roberta", layers=("En1",), data="praise", adapt=True))
