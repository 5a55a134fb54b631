"""Try the one GPU that this process sees, and print what came of it as JSON; `health` runs it as a process."""

import json
import sys

import torch

from tune_cnn.errors import TuneCnnError, first_line
from tune_cnn.training.inspection.device import inspect_device


def main() -> None:
    error: str | None = None
    try:
        inspect_device(cuda=True, compiles=False)
    except (TuneCnnError, RuntimeError) as failed:
        error = first_line(failed)
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else None
    sys.stdout.write(json.dumps({"error": error, "nccl": nccl}) + "\n")


if __name__ == "__main__":
    main()
