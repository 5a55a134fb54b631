"""`tune-cnn doctor`: whether the machines are well."""
