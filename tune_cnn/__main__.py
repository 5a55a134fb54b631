"""`python -m tune_cnn` is `tune-cnn`."""

from tune_cnn.cli import main

main()
