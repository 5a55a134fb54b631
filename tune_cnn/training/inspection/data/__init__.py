"""What a study's images are like, for who asks before a search."""
