"""Every estimator of the library on one page."""
