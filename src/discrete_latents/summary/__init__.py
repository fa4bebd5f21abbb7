"""Finished runs added up: tables of means and standard errors over seeds, and a report to open in a browser."""
