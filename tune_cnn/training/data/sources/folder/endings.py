"""Endings of files: those of images that are read, and those of what goes along with images and is none."""

IMAGE_ENDINGS = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
# A folder that holds these alone is no class. What may be an image in a form that isn't read (.heic, .npy, a ZIP, no
# ending at all) is not among them: such a folder may be a class, and must not be taken away in silence.
TEXT_ENDINGS = frozenset(
    {".bib", ".csv", ".doc", ".docx", ".htm", ".html", ".json", ".jsonl", ".md", ".odt", ".pdf", ".rst", ".rtf", ".tex"}
    | {".tsv", ".txt", ".xls", ".xlsx", ".xml", ".cfg", ".ini", ".toml", ".yaml", ".yml"}  # texts, tables, settings
    | {".c", ".cpp", ".css", ".cu", ".h", ".ipynb", ".js", ".m", ".py", ".r", ".sh"}  # code
    | {".ckpt", ".db", ".db-shm", ".db-wal", ".log", ".onnx", ".pt2", ".pth", ".safetensors", ".sqlite"}
)
TEXT_NAMES = frozenset({"authors", "changelog", "citation", "copying", "dockerfile", "license", "makefile", "readme"})


def ending(path: str) -> str:
    """With its dot, in small letters; empty where there is none."""
    _, dot, last = path.rpartition("/")[2].rpartition(".")
    return dot + last.lower() if dot else ""


def is_text(name: str) -> bool:
    """Whether a file is text, code or a record of a tool, by its name."""
    return ending(name) in TEXT_ENDINGS or name.lower() in TEXT_NAMES
