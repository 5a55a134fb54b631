"""Times configurations one after another in one process, with nothing beside: settings and configurations in, JSON out.

Median seconds of an epoch, of `epochs` (of the settings) each; the time of an epoch is that of the training alone.
"""

import json
import statistics
import sys
from itertools import pairwise
from pathlib import Path

from settings import Settings
from training import train

if __name__ == "__main__":
    settings, configurations, out = Settings.read(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), sys.argv[3]
    epoch_s = []
    for number, config in enumerate([configurations[0], *configurations]):  # the first one twice: it warms the process
        times_s = [0.0, *(metrics["train_time_s"] for metrics in train(str(number), config, settings))]
        epoch_s.append(statistics.median(after - before for before, after in pairwise(times_s)))
    Path(out).write_text(json.dumps(epoch_s[1:]))
