"""What the commands do: results as plain data, for `--json` or for a reader."""
