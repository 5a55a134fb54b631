"""The machines: Ray reached or started, what it has, our code brought there, nodes asked, and what is left behind."""
