"""What stands still: ranks that tell how far they are, trials that are ended for it, and Ray that does not answer."""
