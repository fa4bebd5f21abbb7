"""Pages of the documentation that are written from the project itself, by mkdocs-gen-files in `make docs`."""
