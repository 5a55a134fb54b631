"""The page of a question's study, by the command that asked it."""

from pathlib import Path

from tune_cnn.errors import StudyError
from tune_cnn.records.document import StudyArchive
from tune_cnn.study.hints import NextCommands
from tune_cnn.study.questions.asked import question_of


def write_answer(archive: StudyArchive, path: Path, *, commands: NextCommands) -> Path:
    """Write a question's report: the same of the same records, whoever writes it and wherever."""
    question = question_of(archive.study)
    assert question is not None, "the study answers a question"
    if question["kind"] == "profile":
        from tune_cnn.study.profiling.page import write_page

        return write_page(archive, path, commands=commands)
    if question["kind"] == "compare":
        from tune_cnn.study.comparing.shown import write_page as write_comparison

        return write_comparison(archive, path, commands=commands)
    if question["kind"] == "gradients":
        from tune_cnn.study.gradients.shown import write_page as write_gradients

        return write_gradients(archive, path, commands=commands)
    raise StudyError(
        f"study {archive.study.name!r}: answers a question of `{question['kind']}`, which this version of tune_cnn "
        f"doesn't know; update it, and `{commands.report}` writes the report"
    )
