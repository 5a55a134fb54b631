"""The course of transferring: a front carried to another type of accelerator by probing what its points cost there."""
