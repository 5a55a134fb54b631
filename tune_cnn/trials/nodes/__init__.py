"""Which nodes take trials, what each lost, and what is done with trials whose node is going."""
