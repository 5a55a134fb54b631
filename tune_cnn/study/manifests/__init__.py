"""Ready files that send a study to a batch system, a cluster of containers or a service manager: spec in, text out."""
