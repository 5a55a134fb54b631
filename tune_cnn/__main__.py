"""`python -m tune_cnn` is `tune-cnn`."""

import sys

if sys.path and not sys.flags.safe_path:
    # Python put the working directory first. Behind all else, no script there can stand in an installed module's place.
    sys.path.append(sys.path.pop(0))

from tune_cnn.cli.main import main

main()
