"""Recipes: search spaces as YAML studies. `extends:` builds one on another; tune_cnn.spec.load_spec reads them."""
