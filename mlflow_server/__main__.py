"""`python -m mlflow_server` is `tune-cnn server`."""

import sys

from mlflow_server.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], prog="python -m mlflow_server"))
