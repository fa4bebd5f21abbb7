"""The checker of annotations while testing: shapes and types, a whole number being good enough for a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
