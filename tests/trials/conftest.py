"""pytest puts this folder on the path: tests in the folders below, and Ray's workers, import its drivers and loops."""
