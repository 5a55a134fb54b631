"""Ray's Jobs API: a search that is sent to a cluster, and found there again by its study's name."""
