"""Speed of training, evaluation and start-up, against code written by hand."""
