"""Meters: what training costs, measured on one rank. `meters.Meters` puts them together."""
