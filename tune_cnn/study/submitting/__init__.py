"""A search that runs on a cluster without this machine: sent, found again, watched and cancelled."""
