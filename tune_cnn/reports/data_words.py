"""What `data` found, in sentences that terminal and page share."""

from collections.abc import Iterator, Mapping

from tune_cnn.untyped import Plain


def facts(document: Mapping[str, Plain]) -> Iterator[tuple[str, str]]:
    """What it is, and what was seen."""
    channels, height, width = document["shape"]
    yield "images", ", ".join(f"{count:,} {part}" for part, count in document["images"].items())
    yield "as trained", f"{channels} channel{'s' if channels > 1 else ''}, {height}×{width} pixels"
    files = document["files"]
    if files is not None and files["sizes"]:
        yield "sizes", _sizes(files)
        yield "modes", ", ".join(f"{mode['mode']} ({mode['files']:,})" for mode in files["modes"])
    for key, what in (("broken", "can't be read"), ("blank", "show nothing"), ("duplicates", "equal to another")):
        if document[key] is not None:
            yield key, f"{document[key]:,} {what}" if document[key] else "none"
    yield "mean", ", ".join(f"{value:.3f}" for value in document["mean"])
    yield "std", ", ".join(f"{value:.3f}" for value in document["std"])
    least, most = (document["imbalance"][end] for end in ("smallest", "largest"))
    each = f"{least:,} to {most:,} training images" if least < most else f"{most:,} training images each"
    yield "classes", f"{len(document['classes'])}, with {each}"


def _sizes(files: Mapping[str, Plain]) -> str:
    listed = ", ".join(f"{size['width']}×{size['height']} ({size['files']:,})" for size in files["sizes"][:3])
    least, most = files["smallest"], files["largest"]
    if files["different_sizes"] > 3:
        ends = f"{least['width']}×{least['height']} to {most['width']}×{most['height']}"
        listed = f"{files['different_sizes']:,} different, {ends}; most often {listed}"
    seen = "" if files["looked_at"] == files["of"] else f", of {files['looked_at']:,} files looked at"
    return f"{listed}{seen}"
