"""What a process of its own does in a test of the cache; it imports little, to start at once."""

from tune_cnn.spec import DataSpec
from tune_cnn.training.data.cache import cached
from tune_cnn.training.data.sources.folder.image_folder import image_folder


def decode_together(root, cache_dir, together, said):
    """In a process of its own: tell whether it decoded, what it got, and from which file."""
    source, decoded = image_folder(DataSpec(name="image_folder", root=str(root), image_size=64)), []
    original = type(source).chunks

    def chunks(self):
        decoded.append(1)
        return original(self)

    type(source).chunks = chunks
    together.wait()
    entry = cached(source, cache_dir)
    said.put((len(decoded), len(entry.labels_n), entry.key, entry.path.stat().st_ino))
