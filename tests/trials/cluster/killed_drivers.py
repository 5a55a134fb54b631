"""A driver with a Ray, a trial's process and a loader process, to be killed: `python killed_drivers.py [ADDRESS]`."""

import json
import os
import sys
import time

from tune_cnn.trials.cluster.machines import connected

with connected(sys.argv[1] if len(sys.argv) > 1 else None, code=[], calls=[]):
    import ray

    @ray.remote(num_cpus=0)
    class Process:
        """As a rank that reads by loader processes."""

        def start(self) -> list[int]:
            from tune_cnn.training.data.loaders.processes import LoaderContext

            self.context = LoaderContext()
            self.queue = self.context.Queue()  # has semaphores
            loader = self.context.Process(target=time.sleep, args=(1000,))
            loader.start()
            return [os.getpid(), loader.pid or 0]

    process = Process.remote()
    sys.stdout.write(json.dumps(ray.get(process.start.remote())) + "\n")
    sys.stdout.flush()
    time.sleep(1000)
