"""Sets whose images come in files of many: shards, and those of the Hugging Face hub."""
